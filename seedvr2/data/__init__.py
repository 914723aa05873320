"""Training data: clean clips, their degradation, and batches of pairs."""
