"""Latent pixels <-> tokens: patches of 1 x 2 x 2 latent pixels, rows ordered (t, h, w), features ordered (dh, dw,
c).
"""

import torch
from einops import rearrange
from torch import Tensor

from seedvr2.models.windows import Size

PATCH = 2  # latent pixels per token along height and width


def token_sizes(sizes: list[Size]) -> list[Size]:
    """Token grids of latent sizes (t, h, w); h and w must be even."""
    for size in sizes:
        if size[1] % PATCH or size[2] % PATCH:
            raise ValueError(
                f"latent size {size} must have even height and width: pad frames to multiples of 16 pixels"
            )
    return [(t, h // PATCH, w // PATCH) for t, h, w in sizes]


def to_patches(pixels: Tensor, sizes: list[Size]) -> Tensor:
    """pixels: (sum of t*h*w, C) of all clips -> (L, 4C) patches."""
    clips = pixels.split([t * h * w for t, h, w in sizes])
    return torch.cat(
        [
            rearrange(clip, "(t h dh w dw) c -> (t h w) (dh dw c)", t=t, h=h // PATCH, dh=PATCH, dw=PATCH)
            for clip, (t, h, _) in zip(clips, sizes, strict=True)
        ]
    )


def from_patches(patches: Tensor, sizes: list[Size]) -> Tensor:
    """patches: (L, 4C) of all clips -> (sum of t*h*w, C) pixels."""
    clips = patches.split([t * h * w for t, h, w in token_sizes(sizes)])
    return torch.cat(
        [
            rearrange(clip, "(t h w) (dh dw c) -> (t h dh w dw) c", t=t, h=h // PATCH, dh=PATCH, dw=PATCH)
            for clip, (t, h, _) in zip(clips, sizes, strict=True)
        ]
    )
