"""What can be trained and sampled: one paradigm a file."""
