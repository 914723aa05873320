"""The video VAE for inference: the same results as the plain one, with less arithmetic and bounded memory."""

from seedvr2.models.vae.inference.network import InferenceVAE
from seedvr2.models.vae.inference.tiling import LADDER, Tiling

__all__ = ["LADDER", "InferenceVAE", "Tiling"]
