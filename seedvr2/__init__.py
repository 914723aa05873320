"""Train, run and measure SeedVR2: one-step video restoration by diffusion adversarial post-training."""

import os

__version__ = "0.1.0"

# Huge pages for large CPU tensors (Linux): saves the page faults of every new activation. PyTorch reads it only once,
# so it must be set before torch is imported.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
