"""What is known of the lights: gains and directions from captures, a mirror ball, near lights, and no lights at all."""
