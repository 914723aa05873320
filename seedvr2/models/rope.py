"""Rotary positions inside a window: the pixel rule of the 7B family and the joint video–text rule of the 3B family.

Both turn a `WindowPlan` into angles; positions are local to each window, so edge windows start again.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from seedvr2.models.windows import WindowPlan


class Rotation(NamedTuple):
    """Cosines and sines of every token's angles, in fp32 (fp64 for fp64 models); `text` is None where text is not
    rotated.
    """

    video: tuple[Tensor, Tensor]  # (L, R) each
    text: tuple[Tensor, Tensor] | None  # (M, R) each


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
        return Rotation(_cos_sin(place, self.frequencies()), None)


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
        return Rotation(_cos_sin(video.to(dtype), frequencies), _cos_sin(text.to(dtype), frequencies))


def _cos_sin(place: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    angles = (place[..., None] * frequencies.to(place)).flatten(1)  # (L, 3, F) -> (L, 3F): axes one after the other
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos_sin: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate neighbouring channel pairs of x (L, H, D) by the angles (L, R); the channels behind 2R pass through."""
    cos, sin = (table[:, None] for table in cos_sin)
    turned, rest = x.split([2 * cos.shape[-1], x.shape[-1] - 2 * cos.shape[-1]], dim=-1)
    a, b = turned.to(cos.dtype).unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)
    return torch.cat([turned.to(x.dtype), rest], dim=-1)
