"""Model files: reading and writing them, and the default model that ships with the package."""
