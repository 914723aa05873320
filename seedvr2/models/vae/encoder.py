"""Encoder of the video VAE: pixels to the mean and log-variance of the latent, 8x smaller in space and 4x in time."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from seedvr2.models.vae.blocks import Downsample, FrameNorm, MidBlock, ResBlock
from seedvr2.models.vae.causal import CausalConv3d, History


class DownBlock(nn.Module):
    """Residual blocks of one width, then a down-sampling in every block but the last."""

    def __init__(
        self, in_channels: int, out_channels: int, *, layers: int, groups: int, downsample: Downsample | None
    ) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * layers
        self.resnets = nn.ModuleList(ResBlock(widths[i], widths[i + 1], groups) for i in range(layers))
        self.downsamplers = nn.ModuleList([] if downsample is None else [downsample])

    def forward(self, x: Tensor, history: History) -> Tensor:
        """Map (B, in_channels, T, H, W) to (B, out_channels, T', H', W')."""
        for layer in (*self.resnets, *self.downsamplers):
            x = layer(x, history)
        return x


class Encoder(nn.Module):
    """Frames to posterior moments.

    Args:
        channels: widths of the four stages; the first three halve the space, the second and third also the time.
        layers: residual blocks per stage.
        groups: groups of the norms.
        latent_channels: channels of the latent; the output has twice as many (mean, then log-variance).
    """

    def __init__(self, channels: Sequence[int], *, layers: int, groups: int, latent_channels: int) -> None:
        super().__init__()
        last = len(channels) - 1
        self.conv_in = CausalConv3d(3, channels[0])
        self.down_blocks = nn.ModuleList(
            DownBlock(
                channels[max(stage - 1, 0)],
                width,
                layers=layers,
                groups=groups,
                downsample=Downsample(width, halves_time=stage > 0) if stage < last else None,
            )
            for stage, width in enumerate(channels)
        )
        self.mid_block = MidBlock(channels[-1], groups)
        self.conv_norm_out = FrameNorm(groups, channels[-1])
        self.conv_out = CausalConv3d(channels[-1], 2 * latent_channels)

    def forward(self, x: Tensor, history: History) -> Tensor:
        """Map (B, 3, T, H, W) to moments (B, 2 * latent_channels, t, H / 8, W / 8)."""
        x = self.conv_in(x, history)
        for block in self.down_blocks:
            x = block(x, history)
        x = self.mid_block(x, history)
        return self.conv_out(F.silu(self.conv_norm_out(x), inplace=True), history)
