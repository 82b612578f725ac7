"""Other people's models, read from their own files. Nothing in a file is ever run, and nothing is downloaded."""
