"""Settings of memory put into effect on the networks of a run."""

import torch
from torch import nn

from seedvr2.models.vae.inference import InferenceVAE
from seedvr2.restore.offload import Offload, place
from seedvr2.restore.plan.settings import Settings


class Placement:
    """Puts a generator onto a device, or parts of it, and tiles an autoencoder, as settings say; they may change
    between calls.
    """

    def __init__(self, generator: nn.Module, vae: InferenceVAE, device: torch.device):
        self.generator, self.vae, self.device = generator, vae, device
        self._offload: Offload | None = None

    def __call__(self, settings: Settings) -> None:
        """Put settings into effect."""
        self.vae.tiling = settings.tiling
        if self._offload is None and settings.resident is None:
            self.generator.to(self.device)
            return
        if self._offload is None:
            self._offload = place(self.generator, self.generator.trunk.blocks, self.device)
        blocks = len(self._offload.blocks)
        self._offload.keep(blocks if settings.resident is None else settings.resident)
