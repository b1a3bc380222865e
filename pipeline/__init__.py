"""What several stages share: parameters, records, artifact formats, geometry, and the command line."""
