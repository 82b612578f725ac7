"""The inputs of an evaluation: real pictures, prompts, generated pictures and their features, cached in files."""
