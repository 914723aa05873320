"""Decoder of the video VAE: latents to pixels, 8x larger in space and 4x in time."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from seedvr2.models.vae.blocks import FrameNorm, MidBlock, ResBlock, Upsample
from seedvr2.models.vae.causal import CausalConv3d, History


class UpBlock(nn.Module):
    """Residual blocks of one width, then an up-sampling in every block but the last."""

    def __init__(
        self, in_channels: int, out_channels: int, *, layers: int, groups: int, upsample: Upsample | None
    ) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * layers
        self.resnets = nn.ModuleList(ResBlock(widths[i], widths[i + 1], groups) for i in range(layers))
        self.upsamplers = nn.ModuleList([] if upsample is None else [upsample])

    def forward(self, x: Tensor, history: History) -> Tensor:
        """Map (B, in_channels, T, H, W) to (B, out_channels, T', H', W')."""
        for layer in (*self.resnets, *self.upsamplers):
            x = layer(x, history)
        return x


class Decoder(nn.Module):
    """Latents to frames.

    Args:
        channels: widths of the four stages from the pixels inwards, as for the encoder; the first three stages that run
            double the space, the first two of them also the time.
        layers: residual blocks per stage.
        groups: groups of the norms.
        latent_channels: channels of the latent.
    """

    def __init__(self, channels: Sequence[int], *, layers: int, groups: int, latent_channels: int) -> None:
        super().__init__()
        widths = list(reversed(channels))
        last = len(widths) - 1
        self.conv_in = CausalConv3d(latent_channels, widths[0])
        self.mid_block = MidBlock(widths[0], groups)
        self.up_blocks = nn.ModuleList(
            UpBlock(
                widths[max(stage - 1, 0)],
                width,
                layers=layers,
                groups=groups,
                upsample=Upsample(width, doubles_time=stage < last - 1) if stage < last else None,
            )
            for stage, width in enumerate(widths)
        )
        self.conv_norm_out = FrameNorm(groups, widths[-1])
        self.conv_out = CausalConv3d(widths[-1], 3)

    def forward(self, z: Tensor, history: History) -> Tensor:
        """Map (B, latent_channels, t, h, w) to (B, 3, T, 8 * h, 8 * w)."""
        x = self.mid_block(self.conv_in(z, history), history)
        for block in self.up_blocks:
            x = block(x, history)
        return self.conv_out(F.silu(self.conv_norm_out(x), inplace=True), history)
