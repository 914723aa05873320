"""What a run will need, computed before it starts: memory, exchange and time per GPU, and what cannot work."""
