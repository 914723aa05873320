"""Train, run and measure SeedVR2: one-step video restoration by diffusion adversarial post-training."""

__version__ = "0.1.0"
