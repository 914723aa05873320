"""Input of a causal convolution, normalised and activated strip by strip instead of as a whole."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from seedvr2.models.vae.blocks import FrameNorm
from seedvr2.models.vae.inference.fused import fused_silu
from seedvr2.tracing import alike, kind_of

_PIXELS = 4096  # per piece on a CPU, where sums of more would lose digits
_ELEMENTS = 2**31 - 1  # per piece on CUDA, which copies larger ones to float32


def statistics(frames: Tensor, norm: FrameNorm) -> tuple[Tensor, Tensor]:
    """Mean and variance that `norm` uses, for each channel of frames (T, C, H, W): two tensors (T, C).

    They are at least float32.
    """
    channels, height, width = frames.shape[1:]
    rows = _ELEMENTS // (channels * width) if kind_of(frames.device) == "cuda" else _PIXELS // width
    rows = min(height, max(1, rows))
    pieces = frames.split(rows, dim=2)
    dtype = torch.promote_types(frames.dtype, torch.float32)
    mean, var = torch.empty(2, len(pieces), *frames.shape[:2], dtype=dtype, device=frames.device)
    for at in alike(range(len(pieces)), frames.device):
        for number, frame in enumerate(pieces[at].split(1)):
            mean[at, number], var[at, number] = _moments(frame)
    share = mean.new_full((len(pieces), 1, 1, 1), rows / height)  # filled where it lies: a copy would stop the device
    share[-1] = pieces[-1].shape[2] / height
    mean, var = (part.unflatten(2, (norm.num_groups, -1)) for part in (mean, var))  # (piece, T, group, channel)
    centre = (share * mean).sum(dim=0).mean(dim=-1, keepdim=True)
    spread = (share * (var + (mean - centre).square())).sum(dim=0).mean(dim=-1, keepdim=True)
    return tuple(part.expand(mean.shape[1:]).flatten(1) for part in (centre, spread))


def _moments(frame: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (C,) of each channel of (1, C, H, W)."""
    dtype = torch.promote_types(frame.dtype, torch.float32)
    if kind_of(frame.device) in ("cpu", "cuda"):  # in one pass, without a copy
        kept = frame.new_zeros(2, frame.shape[1], dtype=dtype)
        return torch.batch_norm_update_stats(frame, kept[0], kept[1], 0.0)
    var, mean = torch.var_mean(frame.to(dtype), dim=(0, 2, 3), correction=0)
    return mean, var


class Source:
    """Frames (T, C, H, W) as a convolution sees them: as they are, or normalised and through SiLU.

    Args:
        frames: in the channels-last format.
        norm: None leaves the frames as they are.

    `fused` is the kernel that does both, if there is one here.
    """

    def __init__(self, frames: Tensor, norm: FrameNorm | None = None) -> None:
        self.frames, self.norm = frames, norm
        if norm is not None:
            self.mean, self.var = statistics(frames, norm)
            self.weight, self.bias = (part.to(self.mean.dtype) for part in (norm.weight, norm.bias))
            self.fused = fused_silu(frames.device, frames.dtype, frames.shape[1])

    def write(self, into: Tensor, first: int, top: int) -> None:
        """Fill `into` (n, C, rows, W) with frames from `first` and rows from `top` on."""
        count, _, rows, _ = into.shape
        strip = self.frames[first : first + count, :, top : top + rows]
        if self.norm is None:
            into.copy_(strip)
            return
        if self.fused is not None and _is_plain(strip) and _is_plain(into):
            at = slice(first, first + count)
            self.fused(strip, self.mean[at], self._scale[at], self.bias, into)
            return
        for number in range(count):
            at = first + number
            made = self._normalised(strip[number : number + 1], at)
            torch.ops.aten.silu.out(made, out=into[number : number + 1])

    def last(self, count: int) -> Tensor:
        """The last `count` frames, or as many as there are, (n, C, H, W)."""
        count = min(count, len(self.frames))
        made = self.frames[-count:]
        if self.norm is None:
            return made
        made = torch.empty_like(made, memory_format=torch.channels_last)
        self.write(made, len(self.frames) - count, 0)
        return made

    def normalised(self, number: int) -> Tensor:
        """One frame (1, C, H, W) normalised, without SiLU."""
        return self._normalised(self.frames[number : number + 1], number)

    def _normalised(self, frame: Tensor, at: int) -> Tensor:
        mean, var = self.mean[at], self.var[at]
        if kind_of(frame.device) in ("cpu", "cuda"):
            return F.batch_norm(frame, mean, var, self.weight, self.bias, eps=self.norm.eps).to(frame.dtype)
        # others end the process if types are mixed in there
        scale = self._scale[at]
        shift = self.bias - mean * scale
        return torch.addcmul(shift[:, None, None], frame.to(scale.dtype), scale[:, None, None]).to(frame.dtype)

    @functools.cached_property
    def _scale(self) -> Tensor:
        """What the norm multiplies by, (T, C)."""
        return self.weight * (self.var + self.norm.eps).rsqrt()


def _is_plain(frames: Tensor) -> bool:
    """Whether each frame is one block of memory whose elements 31 bits can count."""
    _, channels, height, width = frames.shape
    return frames.stride()[1:] == (1, width * channels, channels) and channels * height * width < 2**31
