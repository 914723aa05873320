"""How much memory the VAE may use: its settings, and the steps from the fastest to the smallest."""

from dataclasses import dataclass

import torch

from seedvr2.tracing import kind_of

_CACHE = 24 * 2**20  # what a strip and its results may take on a CPU, so that they stay in its cache
_LEAST_ROWS = 8  # of a strip by default: each needs two more
_DEVICE = 2**29


@dataclass(frozen=True)
class Tiling:
    """Settings that change memory and speed, and results by rounding only.

    Args:
        workspace: bytes for one strip of rows of one layer, that is its normalised input and what the convolution makes
            of it; None: what is fast on the device. A strip has at least two rows.
        frames: frames in flight at once where the network runs at full size and rate (None: the whole chunk). Without
            effect for histories other than `Carry` and `Fresh`.
        parks: whether all histories but that of the call wait in the memory of the host, if they are a `Carry`: that of
            the decoder while frames are encoded, for instance.
        host: whether all histories stay there, and each strip fetches what it needs of that of the call.
    """

    workspace: int | None = None
    frames: int | None = None
    parks: bool = False
    host: bool = False

    @property
    def needs_host(self) -> bool:
        """Whether the memory of the host stands in for that of the device."""
        return self.parks or self.host

    def rows(self, row: int, device: torch.device) -> int:
        """Rows of a strip if each takes `row` bytes."""
        if self.workspace is not None:
            return max(2, self.workspace // row - 2)
        if kind_of(device) == "cpu":
            return max(_LEAST_ROWS, _CACHE // row - 2)
        return max(_LEAST_ROWS, _DEVICE // row - 2)

    @property
    def spare(self) -> int:
        """Bytes that a strip may take on a GPU beside those of the usual way to convolve, if another one is faster."""
        return (self.workspace or _DEVICE) * 2 // 3


FASTEST = Tiling()
LADDER = (
    FASTEST,
    Tiling(workspace=256 * 2**20),
    Tiling(workspace=256 * 2**20, frames=2),
    Tiling(workspace=128 * 2**20, frames=1),
    Tiling(workspace=128 * 2**20, frames=1, parks=True),
    Tiling(workspace=128 * 2**20, frames=1, host=True),
    Tiling(workspace=32 * 2**20, frames=1, host=True),
)  # from the fastest to that with the least memory
