"""Losses between a fake and its real clip. A generator loss is a function of a `Comparison`; name it under `terms` in a
stage config.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Comparison(NamedTuple):
    """Everything a generator loss may look at; real parts and features carry no gradient."""

    fake: Tensor  # (rows, C) generated latents of all clips, times the weights of their channels
    real: Tensor  # (rows, C)
    fake_logits: Tensor  # (B,), or (L,) with one per token
    real_logits: Tensor  # (B,)
    fake_features: list[Tensor]  # per tap (L, C)
    real_features: list[Tensor]


def l1(pair: Comparison) -> Tensor:
    """Mean absolute difference of the latents."""
    return F.l1_loss(pair.fake, pair.real)


def mse(pair: Comparison) -> Tensor:
    """Mean squared difference of the latents."""
    return F.mse_loss(pair.fake, pair.real)


def feature_matching(pair: Comparison) -> Tensor:
    """Mean absolute difference of the discriminator's features before its heads (Eq. 4), averaged over taps."""
    taps = [F.l1_loss(fake, real) for fake, real in zip(pair.fake_features, pair.real_features, strict=True)]
    return sum(taps) / len(taps)
