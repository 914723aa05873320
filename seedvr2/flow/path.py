"""The straight path between data and noise (released schedule `lerp`) and its velocity.

Timesteps run from 0 (data) to T = 1000 (noise): x_t = (1 - t/T) x_0 + (t/T) noise, v = noise - x_0.
A timestep is a float or a tensor that broadcasts against the data.
"""

from torch import Tensor

TOTAL = 1000.0  # T

Timestep = float | Tensor


def noised(clean: Tensor, noise: Tensor, timestep: Timestep) -> Tensor:
    """x_t between data and noise."""
    share = timestep / TOTAL
    return (1 - share) * clean + share * noise


def velocity(clean: Tensor, noise: Tensor) -> Tensor:
    """The field the network predicts, constant along the path."""
    return noise - clean


def clean_estimate(x: Tensor, field: Tensor, timestep: Timestep) -> Tensor:
    """x_0 that x_t and a velocity imply; at t = T this is the one-step result `noise - v`."""
    return x - timestep / TOTAL * field


def noise_estimate(x: Tensor, field: Tensor, timestep: Timestep) -> Tensor:
    """Noise that x_t and a velocity imply."""
    return x + (1 - timestep / TOTAL) * field


def euler_step(x: Tensor, field: Tensor, start: Timestep, stop: Timestep) -> Tensor:
    """x at timestep `stop`, going from `start` along the velocity."""
    return x + (stop - start) / TOTAL * field
