"""From noise to data with a velocity network: Euler steps and classifier-free guidance."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from seedvr2.flow.path import clean_estimate, euler_step

Field = Callable[[Tensor, float], Tensor]  # (x_t, timestep) -> velocity


def euler(field: Field, noise: Tensor, timesteps: Sequence[float]) -> Tensor:
    """Integrate from noise at timesteps[0] down to data; one network evaluation per timestep."""
    x = noise
    for start, stop in itertools.pairwise(timesteps):
        x = euler_step(x, field(x, start), start, stop)
    return clean_estimate(x, field(x, timesteps[-1]), timesteps[-1])


def guided(positive: Tensor, negative: Tensor, scale: float, *, rescale: float = 0.0) -> Tensor:
    """Classifier-free guidance v_neg + scale (v_pos - v_neg), optionally pulled back to the spread of v_pos.

    positive, negative: (L, C). rescale: 0 (off) to 1; the spread is taken per row over channels, as the released
    sampler does.
    """
    combined = negative + scale * (positive - negative)
    if rescale == 0:
        return combined
    ratio = positive.std(dim=-1, keepdim=True) / combined.std(dim=-1, keepdim=True)
    return combined * torch.lerp(torch.ones_like(ratio), ratio, rescale)
