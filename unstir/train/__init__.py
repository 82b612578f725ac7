"""Training: one loop for every paradigm, resumable to the bit."""
