"""Where VAE training starts: a network that only resamples, so that colours pass from the first step on.

Fresh random layers need thousands of steps before they carry the mean colour through the per-frame norms. Here every
residual branch is silent, down-sampling averages, up-sampling repeats, and biases at the entries give the norms
constant channels to measure against.
"""

import torch
from torch import nn

from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.blocks import Downsample, FrameAttention, ResBlock, Upsample

_NOISE = 0.1  # of the usual random weights stays, to break symmetry
_BIAS = 0.5  # standard deviation


@torch.no_grad()
def start_as_resampler(vae: VideoVAE, generator: torch.Generator) -> None:
    """Overwrite fresh weights of a VAE in place; `generator` draws what is random."""
    for module in vae.modules():
        if isinstance(module, ResBlock):
            nn.init.zeros_(module.conv2.weight)
        elif isinstance(module, FrameAttention):
            nn.init.zeros_(module.to_out[0].weight)
        elif isinstance(module, Downsample):
            _add_identity(module.conv, generator, rows=(0, 1), columns=(0, 1))
        elif isinstance(module, Upsample):
            _add_identity(module.conv, generator, rows=(1,), columns=(1,))
    for entry in (vae.encoder.conv_in, vae.decoder.conv_in):
        entry.bias.normal_(std=_BIAS, generator=generator)


def _add_identity(
    conv: nn.Conv3d, generator: torch.Generator, *, rows: tuple[int, ...], columns: tuple[int, ...]
) -> None:
    # The newest frame's mean over the given taps, channel by channel.
    nn.init.kaiming_normal_(conv.weight, nonlinearity="linear", generator=generator)
    conv.weight.mul_(_NOISE)
    channels = torch.arange(conv.out_channels)
    for row in rows:
        for column in columns:
            conv.weight[channels, channels, -1, row, column] += 1 / (len(rows) * len(columns))
