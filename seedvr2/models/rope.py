"""Rotary positions inside a window: the pixel rule of the 7B family and the joint video–text rule of the 3B family.

Both turn a `WindowPlan` into angles; positions are local to each window, so edge windows start again.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seedvr2.models.windows import WindowPlan


class Rotation(NamedTuple):
    """Cosine and sine of every token's angles, in fp32 (fp64 for fp64 models); `text` is None where text is not
    rotated.
    """

    video: Tensor  # (L, R, 2)
    text: Tensor | None  # (M, R, 2)


class VideoRope:
    """7B family: each axis of a window spans [-1, 1], frequencies pi * linspace(1, 128); text has no position.

    dim: channels to rotate are 3 * 2 * (dim // 6) of each head (released: dim = head_dim // 2).
    """

    def __init__(self, dim: int):
        self.dim = dim

    def frequencies(self) -> Tensor:
        """(dim // 6,) angular frequencies of one axis."""
        return torch.linspace(1.0, 128.0, self.dim // 3 // 2) * math.pi

    def __call__(self, plan: WindowPlan, dtype: torch.dtype) -> Rotation:
        """Rotation of the plan's tokens; angles reach 128 pi, so dtype must be fp32 or fp64."""
        extents, which = plan.extent.unique(return_inverse=True)
        ruler = torch.zeros(len(extents), int(extents.max()), dtype=dtype, device=extents.device)
        for row, extent in zip(ruler, extents.tolist(), strict=True):
            row[:extent] = torch.linspace(-1.0, 1.0, extent, dtype=dtype, device=row.device)
        place = ruler[which, plan.position]  # (L, 3)
        return Rotation(_turns(place, self.frequencies(), self.dim // 2), None)


class JointRope:
    """3B family: integer positions, base 10000; text sits at j on all axes, video starts behind it in time.

    dim: channels to rotate are 3 * 2 * (dim // 6) of each head (released: dim = head_dim).
    """

    def __init__(self, dim: int):
        self.dim = dim

    def frequencies(self) -> Tensor:
        """(dim // 6,) angular frequencies of one axis."""
        axis = self.dim // 3
        return 1.0 / 10000 ** (torch.arange(0, axis // 2 * 2, 2).float() / axis)

    def __call__(self, plan: WindowPlan, dtype: torch.dtype) -> Rotation:
        """Rotation of the plan's video and text tokens."""
        zero = torch.zeros_like(plan.text_before)
        video = plan.position + torch.stack([plan.text_before, zero, zero], dim=-1)
        text = plan.text_position[:, None].expand(-1, 3)
        frequencies = self.frequencies()
        return Rotation(*(_turns(place.to(dtype), frequencies, self.dim // 2) for place in (video, text)))


def _turns(place: Tensor, frequencies: Tensor, pairs: int) -> Tensor:
    angles = (place[..., None] * frequencies.to(place)).flatten(1)  # (L, 3, F) -> (L, 3F): axes one after the other
    angles = F.pad(angles, (0, pairs - angles.shape[1]))  # the pairs that are left stay as they are
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Rotate neighbouring channel pairs of x (L, H, D) by `turns` (L, R, 2); the channels behind 2R pass through."""
    channels = 2 * turns.shape[1]
    turned, rest = x.split([channels, x.shape[-1] - channels], dim=-1)
    pairs = turned.to(turns.dtype).unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # the compiler fuses real products, and leaves complex ones alone
        (a, b), (cos, sin) = pairs.unbind(-1), turns[:, None].unbind(-1)
        pairs = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1)
    else:
        pairs = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * torch.view_as_complex(turns)[:, None])
    turned = pairs.flatten(-2).to(x.dtype)
    return torch.cat([turned, rest], dim=-1) if rest.shape[-1] else turned
