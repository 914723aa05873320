"""Exponential moving average of weights, in fp32."""

from collections.abc import Mapping

import torch
from torch import Tensor

from seedvr2.errors import UserError
from seedvr2.optim.gradients import local


class Ema:
    """average <- decay * average + (1 - decay) * weights, after every optimizer step."""

    def __init__(self, parameters: Mapping[str, Tensor], decay: float):
        if not 0 <= decay < 1:
            raise UserError(f"EMA decay {decay} must be at least 0 and below 1: 0.995 averages about 200 steps")
        self.decay = decay
        self.average = {name: value.detach().float().clone() for name, value in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor]) -> None:
        """Take one step towards the current weights."""
        ours = [local(average) for average in self.average.values()]
        theirs = [local(parameters[name].detach()).float() for name in self.average]
        torch._foreach_lerp_(ours, theirs, 1 - self.decay)
