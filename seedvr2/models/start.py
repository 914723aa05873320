"""Where base training may start: a generator whose one-step result is the LQ latent itself.

Its velocity is x_t - lq, so x_T - v = lq. Small models trained for minutes then learn what to change instead of first
learning to copy. The difference and the LQ latent run along the residual stream; large constants beside them make the
output norm of the 3B family nearly linear for latents of about unit deviation.
"""

import torch
from torch import nn

from seedvr2.errors import UserError
from seedvr2.models.dit import SwinMMDiT
from seedvr2.models.patch import PATCH

_SHARE = 3.6  # of the constants' energy to that of both latents
_NOISE = 0.1  # of the usual random weights stays, to break ties


@torch.no_grad()
def start_as_copy(generator: SwinMMDiT, draws: torch.Generator) -> None:
    """Overwrite the first and last layers of a fresh generator in place; `draws` makes the noise that breaks ties.

    Raises UserError for a generator too narrow to carry both latents and some constants.
    """
    entry, exit_ = generator.trunk.vid_in.proj, generator.vid_out.proj
    latent = exit_.out_features  # channels of a latent in one patch
    constants = entry.out_features - 2 * latent
    if constants < latent // 4:
        raise UserError(
            f"a generator of width {entry.out_features} cannot start as a copy: "
            f"use a width of at least {2 * latent + latent // 4}, or start: random"
        )
    channels, inputs = latent // PATCH**2, entry.in_features // PATCH**2
    pixel = torch.arange(PATCH**2).repeat_interleave(channels)
    noisy = pixel * inputs + torch.arange(channels).repeat(PATCH**2)  # where x_t lies in a patch; the LQ latent follows
    rows = torch.arange(latent)
    nn.init.xavier_normal_(entry.weight, gain=_NOISE, generator=draws)
    entry.weight[rows, noisy] += 1
    entry.weight[rows, noisy + channels] -= 1
    entry.weight[latent + rows, noisy + channels] += 1
    entry.bias.zero_()
    energy = latent * (2 + 1)  # of noise - lq and lq, for latents of unit deviation
    large = (_SHARE * energy / constants) ** 0.5
    entry.bias[2 * latent :] = large * torch.tensor([1.0, -1.0]).repeat(constants)[:constants]
    nn.init.zeros_(exit_.weight)
    exit_.weight[rows, rows] = 1
    if generator.vid_out_norm is not None:
        generator.vid_out_norm.weight.fill_(((1 + _SHARE) * energy / entry.out_features) ** 0.5)
        nn.init.ones_(generator.vid_out_ada.out_scale)
        nn.init.zeros_(generator.vid_out_ada.out_shift)
