"""A file without nodes."""
