"""How much an error in each latent channel changes the decoded frames.

Latents are scaled for diffusion, so that channels of fine detail are as large as those of the mean colour, which count
far more in a picture. Losses that shall be near in pixels therefore weigh latents; ours, not in the paper.
"""

from collections.abc import Callable

import torch
from torch import Tensor

SHAPE = (2, 6, 6)  # of the latents that are disturbed, (t, h, w)
STEP = 0.1  # of the disturbance, in units of the scaled latents


@torch.no_grad()
def pixel_weights(
    decode: Callable[[Tensor], Tensor], channels: int, *, scale: float, device: torch.device | None = None
) -> Tensor:
    """Root of the mean squared change of the frames per change of each channel of the scaled latents (C,).

    decode: latents of a VAE (1, channels, t, h, w) on `device`, not scaled, to frames. The squares of the weights have
    mean 1, so that the mean of (weights * error)^2 follows the squared error of the frames.

    To first order around random latents of unit deviation, with signs drawn for every position; the same at every call.
    """
    draws = torch.Generator().manual_seed(0)
    size = (1, channels, *SHAPE)
    base = torch.randn(size, generator=draws).to(device)
    signs = torch.randint(0, 2, size, generator=draws).mul(2).sub(1).to(device)
    frames = decode(base / scale)
    changes = []
    for channel in range(channels):
        moved = base.clone()
        moved[:, channel] += STEP * signs[:, channel]
        changes.append((decode(moved / scale) - frames).double().square().mean())
    squares = torch.stack(changes)
    return (squares / squares.mean()).sqrt().float()
