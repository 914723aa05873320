"""Convolution that looks only into the past, and the histories that say what that past is.

Convolutions are the only layers of the video VAE that mix frames, so a history is all it takes to run the same network
on a whole clip or on a stream of chunks: it decides which frames stand before the chunk at each layer.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class History(Protocol):
    """Says which frames stand before a chunk at each causal layer."""

    def is_start(self, layer: nn.Module) -> bool:
        """Whether the next chunk that `layer` sees begins a clip."""

    def before(self, layer: nn.Module, x: Tensor, frames: int) -> Tensor | None:
        """Return the `frames` frames that stand before `x`, or None where the clip begins with `x`.

        Args:
            layer: the causal layer that asks.
            x: its input chunk (B, C, T, H, W).
            frames: how many earlier frames the layer needs in the middle of a clip.
        """


class Fresh:
    """The history of a chunk that is a whole clip: nothing stands before it."""

    def is_start(self, layer: nn.Module) -> bool:
        """Every chunk begins a clip."""
        return True

    def before(self, layer: nn.Module, x: Tensor, frames: int) -> Tensor | None:
        """Nothing stands before `x`."""
        return None


class Carry:
    """Remembers the last input frames of each causal layer, so that chunks in a row equal one clip.

    One `Carry` serves one clip; it may serve both the encoder and the decoder. What it remembers stays attached to the
    autograd graph: stream without gradients.
    """

    def __init__(self) -> None:
        self._tails: dict[nn.Module, Tensor] = {}

    def is_start(self, layer: nn.Module) -> bool:
        """Whether `layer` has seen no chunk of this clip yet."""
        return layer not in self._tails

    def before(self, layer: nn.Module, x: Tensor, frames: int) -> Tensor | None:
        """Return the last `frames` frames of the previous chunks (None at the start) and remember those of `x`."""
        past = self._tails.get(layer)
        if past is not None:
            past = past.to(x.device)  # what is kept may lie elsewhere since the last chunk
        missing = frames - x.shape[2]
        if missing > 0:
            earlier = [x[:, :, :1]] * missing if past is None else [past[:, :, -missing:]]
            tail = torch.cat([*earlier, x], dim=2)
        else:
            # a copy, because a slice would keep the whole chunk in memory
            tail = x[:, :, -frames:].clone(memory_format=torch.channels_last_3d)
        self._tails[layer] = tail
        return past

    def tail(self, layer: nn.Module) -> Tensor | None:
        """What it remembers of `layer`, (B, C, T, H, W) or None; whoever overwrites it changes the past."""
        return self._tails.get(layer)

    def keep(self, layer: nn.Module, tail: Tensor) -> None:
        """Remember a tail itself."""
        self._tails[layer] = tail

    def layers(self) -> list[nn.Module]:
        """Those of which it remembers something."""
        return list(self._tails)

    def clear(self) -> None:
        """Forget everything, as if no chunk had passed."""
        self._tails.clear()


class CausalConv3d(nn.Conv3d):
    """3-D convolution whose output frames depend on no later input frame.

    At the start of a clip the first frame is repeated `kernel - 1` times in front of it, whatever the stride.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: taps in (time, height, width); time 1 makes it a convolution of single frames.
        stride: steps in (time, height, width).
        pad: zeros on each side of height and width.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: tuple[int, int, int] = (3, 3, 3),
        stride: tuple[int, int, int] = (1, 1, 1),
        pad: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, padding=(0, pad, pad))

    def forward(self, x: Tensor, history: History) -> Tensor:
        """Convolve (B, C, T, H, W) with what `history` puts before it, to (B, out_channels, T', H', W')."""
        taps = self.kernel_size[0]
        if taps == 1:
            return super().forward(x)
        past = history.before(self, x, taps - self.stride[0])
        if past is not None:
            return super().forward(torch.cat([past, x], dim=2))
        first = x[:, :, :1]
        if x.shape[2] == 1:
            return self._convolve_still(first)
        return super().forward(torch.cat([first] * (taps - 1) + [x], dim=2))

    def _convolve_still(self, x: Tensor) -> Tensor:
        """Convolve a single frame in 2-D: all taps see the same picture, so their kernels add up."""
        kernel = self.weight.sum(dim=2)
        return F.conv2d(x.squeeze(2), kernel, self.bias, self.stride[1:], self.padding[1:]).unsqueeze(2)
