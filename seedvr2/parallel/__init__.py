"""Several processes: what they are, what they exchange, and how it is attached to networks that know nothing of it."""
