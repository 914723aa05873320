"""How much an error in each latent channel changes the decoded frames.

Latents are scaled for diffusion, so that channels of fine detail are as large as those of the mean colour, which count
far more in a picture. Losses that shall be near in pixels therefore weigh latents; ours, not in the paper.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

SHAPE = (2, 6, 6)  # of the latents that are disturbed, (t, h, w)
STEP = 0.1  # of the disturbance, in units of the scaled latents
LEAST = 0.003  # squared error below which degraded latents count as good


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


def relative_weights(lq: Sequence[Tensor], hq: Sequence[Tensor], channels: Tensor) -> Tensor:
    """What the squared errors of each row of packed clips are multiplied by to count relative to the degraded clip's.

    lq, hq: latents (t, h, w, C); channels: weights of the channels, (C,) or a scalar. Returns (sum of t*h*w, 1), one
    value per clip: the mean of `weight * (channels * error)^2` is 1 for a result that is no nearer to the clean clip
    than its input was. PSNR is logarithmic, so this follows its mean over clips; a plain mean follows the worst clips.
    """
    factors = []
    for degraded, clean in zip(lq, hq, strict=True):
        error = torch.mean((channels * (degraded - clean).float()) ** 2)
        factors.append((1 / (error + LEAST)).expand(degraded.shape[:3].numel(), 1))
    return torch.cat(factors)
