"""What the network sees beside the noisy latent: the LQ latent and a mask."""

from collections.abc import Sequence

import torch
from torch import Tensor


def restoration_condition(lq: Tensor) -> Tensor:
    """LQ latent (t, h, w, 16) -> condition (t, h, w, 17): a mask channel of ones says "restore this"."""
    return torch.cat([lq, torch.ones_like(lq[..., :1])], dim=-1)


def restoration_input(samples: Sequence[Tensor], conditions: Sequence[Tensor]) -> Tensor:
    """Per clip (t, h, w, 16) and (t, h, w, 17) -> all clips packed as network input (sum of t*h*w, 33)."""
    return pack([torch.cat(pair, dim=-1) for pair in zip(samples, conditions, strict=True)])


def pack(clips: Sequence[Tensor]) -> Tensor:
    """Clips (t, h, w, C) -> rows (sum of t*h*w, C)."""
    return torch.cat([clip.flatten(0, 2) for clip in clips])


def unpack(rows: Tensor, sizes: Sequence[tuple[int, int, int]]) -> list[Tensor]:
    """Rows (sum of t*h*w, C) -> clips (t, h, w, C)."""
    return [
        part.unflatten(0, size) for part, size in zip(rows.split([t * h * w for t, h, w in sizes]), sizes, strict=True)
    ]
