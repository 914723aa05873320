"""What an objective receives: a few clips and their random draws."""

from typing import NamedTuple

from torch import Tensor

from seedvr2.randomness import Draws

Size = tuple[int, int, int]


class Batch(NamedTuple):
    """Clips of one step, of any sizes. Latents (t, h, w, 16), or frames (T, 3, H, W) in [-1, 1] where pixels are
    trained on.
    """

    hq: list[Tensor]
    lq: list[Tensor]  # empty where nothing asked for degraded clips
    draws: list[Draws]  # one per clip

    @property
    def sizes(self) -> list[Size]:
        """Latent size (t, h, w) of each clip."""
        return [tuple(clip.shape[:3]) for clip in self.hq]

    def normal(self, purpose: str) -> list[Tensor]:
        """Standard normal values per clip, shaped like its clean latent."""
        return [draws.normal(purpose, clip) for draws, clip in zip(self.draws, self.hq, strict=True)]

    def uniform(self, purpose: str) -> list[float]:
        """One value in [0, 1) per clip."""
        return [draws.uniform(purpose) for draws in self.draws]
