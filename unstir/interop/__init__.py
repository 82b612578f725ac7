"""Models of other libraries, read from their files. No code in a file is run, and nothing is downloaded."""
