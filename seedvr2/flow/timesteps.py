"""Which timesteps to train and to sample at; all in [0, 1000]."""

import math

import torch
from torch import Tensor

from seedvr2.flow.path import TOTAL

Latent = tuple[int, int, int]  # (t, h, w)

# Resolution shift (released `timesteps.transform`): linear in pixels through two points (pixels, shift).
_IMAGE_POINTS = (256**2, 1.0), (1024**2, 3.2)
_VIDEO_POINTS = (37 * 256**2, 1.0), (145 * 1280 * 720, 5.0)


def trailing(steps: int, *, shift: float = 1.0) -> list[float]:
    """Sampling timesteps, from T downwards, without the end point 0: T * (1 - k/steps), shifted."""
    return [TOTAL * shifted((steps - k) / steps, shift) for k in range(steps)]


def shifted(share: float | Tensor, shift: float | Tensor) -> float | Tensor:
    """Move a share of noise in [0, 1] towards noise (shift > 1) or data (shift < 1): s u / (1 + (s - 1) u)."""
    return shift * share / (1 + (shift - 1) * share)


def resolution_shift(latent: Latent) -> float:
    """Shift for a latent size: more pixels need more noise. Extrapolates, as the released transform does."""
    t, h, w = latent
    frames = (t - 1) * 4 + 1
    (x0, y0), (x1, y1) = _VIDEO_POINTS if frames > 1 else _IMAGE_POINTS
    return y0 + (y1 - y0) / (x1 - x0) * (frames * 8 * h * 8 * w - x0)


def shift_by_resolution(timestep: float | Tensor, latent: Latent) -> float | Tensor:
    """Timestep in [0, 1000] moved by the resolution shift of a latent size."""
    return TOTAL * shifted(timestep / TOTAL, resolution_shift(latent))


def condition_timestep(scale: float, latent: tuple[int, int, int, int]) -> float:
    """Timestep in [0, 1000] of the noise that released multi-step models expect on an LQ latent of shape (t, h, w, C).

    scale: share of noise before the shift, 0.1 in the release. The release takes the resolution shift for the shape
    (h, w, C) read as (t, h, w): every clip of one frame size gets the same noise. Its weights are run that way, so
    this is kept; `shift_by_resolution(1000 * scale, latent[:3])` would be what is meant.
    """
    return shift_by_resolution(TOTAL * scale, latent[1:])


def logit_normal(normal: Tensor, *, loc: float = 0.0, scale: float = 1.0) -> Tensor:
    """Training timesteps from standard normal draws: T * sigmoid(loc + scale * normal)."""
    return TOTAL * torch.sigmoid(loc + scale * normal)


def grid_pairs(steps: int, stride: int, *, shift: float = 1.0) -> list[list[float]]:
    """For each student step, the teacher's timesteps it spans: `steps` teacher steps, `stride` of them per student
    step.

    Each entry has stride + 1 falling timesteps; the last entry ends at 0. Raises ValueError if stride does not divide
    steps.
    """
    if stride < 1 or steps % stride:
        raise ValueError(f"stride {stride} must divide the teacher's {steps} steps")
    edges = [*trailing(steps, shift=shift), 0.0]
    return [edges[i : i + stride + 1] for i in range(0, steps, stride)]


def halvings(start: int, stop: int, stride: int) -> list[tuple[int, int]]:
    """(teacher steps, student steps) of each distillation stage: 64, 1, 2 -> (64, 32), ..., (2, 1)."""
    stages = round(math.log(start / stop, stride)) if stop >= 1 and stride > 1 else 0
    if stages < 1 or stop * stride**stages != start:
        raise ValueError(f"{start} steps do not reach {stop} by dividing by {stride}: choose start = stop * stride**n")
    return [(start // stride**i, start // stride ** (i + 1)) for i in range(stages)]
