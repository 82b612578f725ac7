"""Training runs as Python functions that return their configuration, with the figures they reached."""
