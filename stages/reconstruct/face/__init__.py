"""What is known of faces: a model of their normals, and where in a session it lies."""
