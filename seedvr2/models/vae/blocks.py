"""Building blocks of the video VAE; only their causal convolutions look at more than one frame.

Activations are (B, C, T, H, W) in the channels-last memory format, in which 3-D convolutions on a CPU are several times
faster and the frames of a batch are a view.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedvr2.models.vae.causal import CausalConv3d, History

NORM_EPS = 1e-6


def frames_of(x: Tensor) -> Tensor:
    """View (B, C, T, H, W) as a batch of frames (B * T, C, H, W)."""
    # by way of the order in memory: otherwise axes of one element get strides that hide the channels-last format
    return x.movedim(1, -1).flatten(0, 1).movedim(-1, 1)


def clip_of(frames: Tensor, batch: int) -> Tensor:
    """View a batch of frames (B * T, C, H, W) as clips (B, C, T, H, W)."""
    return frames.movedim(1, -1).unflatten(0, (batch, -1)).movedim(-1, 1)


class FrameNorm(nn.GroupNorm):
    """Group normalisation with the statistics of each frame alone."""

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__(groups, channels, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, T, H, W); the result has the dtype of `x`."""
        frames = super().forward(frames_of(x))
        # the CUDA kernel leaves the channels-last format, and CUDA autocast the dtype: put both back
        frames = frames.to(x.dtype).contiguous(memory_format=torch.channels_last)
        return clip_of(frames, x.shape[0])


class ResBlock(nn.Module):
    """Residual block: twice norm, SiLU and a 3x3x3 causal convolution.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; where they differ a 1x1x1 convolution leads past the block.
        groups: groups of the norms.
    """

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = FrameNorm(groups, in_channels)
        self.conv1 = CausalConv3d(in_channels, out_channels)
        self.norm2 = FrameNorm(groups, out_channels)
        self.conv2 = CausalConv3d(out_channels, out_channels)
        is_same_width = in_channels == out_channels
        self.conv_shortcut = nn.Identity() if is_same_width else nn.Conv3d(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor, history: History) -> Tensor:
        """Map (B, in_channels, T, H, W) to (B, out_channels, T, H, W)."""
        hidden = self.conv1(F.silu(self.norm1(x), inplace=True), history)
        hidden = self.conv2(F.silu(self.norm2(hidden), inplace=True), history)
        hidden += self.conv_shortcut(x)
        return hidden


class FrameAttention(nn.Module):
    """Single-head self-attention over the positions of each frame, with a residual connection."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = FrameNorm(groups, channels)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.Sequential(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T, H, W) to the same shape."""
        batch, _, _, height, width = x.shape
        tokens = frames_of(self.group_norm(x)).flatten(2).transpose(1, 2).unsqueeze(1)
        mixed = F.scaled_dot_product_attention(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens))
        frames = self.to_out(mixed).squeeze(1).transpose(1, 2).unflatten(2, (height, width))
        return x + clip_of(frames, batch)


class MidBlock(nn.Module):
    """Residual block, frame attention, residual block, all at one width."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResBlock(channels, channels, groups) for _ in range(2))
        self.attentions = nn.ModuleList([FrameAttention(channels, groups)])

    def forward(self, x: Tensor, history: History) -> Tensor:
        """Map (B, C, T, H, W) to the same shape."""
        x = self.resnets[0](x, history)
        x = self.attentions[0](x)
        return self.resnets[1](x, history)


class Downsample(nn.Module):
    """Halves height and width, and time where asked: T = 2k + 1 frames become k + 1 (2k become k in mid-clip)."""

    def __init__(self, channels: int, *, halves_time: bool) -> None:
        super().__init__()
        taps, step = (3, 2) if halves_time else (1, 1)
        self.conv = CausalConv3d(channels, channels, kernel=(taps, 3, 3), stride=(step, 2, 2), pad=0)

    def forward(self, x: Tensor, history: History) -> Tensor:
        """Map (B, C, T, H, W) to (B, C, T', H / 2, W / 2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)), history)


class Upsample(nn.Module):
    """Doubles height and width, and time where asked: T frames become 2T - 1 (2T in mid-clip).

    A 1x1x1 convolution makes the channels of all sub-positions, in the order (row, column, time, channel); it starts as
    nearest-neighbour up-sampling. The first frame of a clip stands for itself alone, so its second half is dropped.
    """

    def __init__(self, channels: int, *, doubles_time: bool) -> None:
        super().__init__()
        self.times = 2 if doubles_time else 1
        parts = 4 * self.times
        self.upscale_conv = nn.Conv3d(channels, channels * parts, kernel_size=1)
        self.conv = CausalConv3d(channels, channels)
        with torch.no_grad():
            self.upscale_conv.weight.copy_(torch.eye(channels).repeat(parts, 1).view_as(self.upscale_conv.weight))
            self.upscale_conv.bias.zero_()

    def forward(self, x: Tensor, history: History) -> Tensor:
        """Map (B, C, T, H, W) to (B, C, T', 2 * H, 2 * W)."""
        x = self._shuffle(self.upscale_conv(x))
        if self.times == 2 and history.is_start(self.conv):
            # drop frame 1 without copying the clip: frame 0 takes its place
            x[:, :, 1] = x[:, :, 0]
            x = x[:, :, 1:]
        return self.conv(x, history)

    def _shuffle(self, x: Tensor) -> Tensor:
        """Move sub-positions from the channels of (B, 4 * times * C, T, H, W) to time, height and width."""
        x = x.unflatten(1, (2, 2, self.times, -1))  # (B, row, column, time, C, T, H, W)
        x = x.permute(0, 5, 3, 6, 1, 7, 2, 4)  # (B, T, time, H, row, W, column, C)
        return x.flatten(5, 6).flatten(3, 4).flatten(1, 2).permute(0, 4, 1, 2, 3)
