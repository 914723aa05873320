"""The causal video VAE: pixels to latents, 8x in space and 4x in time."""
