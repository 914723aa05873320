"""Kernels of our own for CUDA and ROCm, in Triton, which not every system has; nothing may need them."""

import torch
import triton
import triton.language as tl
from torch import Tensor

_ELEMENTS = 4096  # of one program
_WARPS = 8


def norm_silu(frames: Tensor, mean: Tensor, scale: Tensor, bias: Tensor, into: Tensor) -> None:
    """SiLU of (frames - mean) * scale + bias, read once and written once; computed in float32.

    Args:
        frames: (T, C, H, W) of 16 or 32 bits; each frame is one block of memory, channels last, of fewer than 2^31
            elements.
        mean: (T, C) float32, as is `scale`.
        bias: (C,) float32.
        into: takes the result; as `frames`, channels last, too.
    """
    mean, scale = mean.contiguous(), scale.contiguous()
    count, channels, height, width = frames.shape
    block = triton.next_power_of_2(channels)
    pixels = max(1, _ELEMENTS // block)
    grid = triton.cdiv(height * width, pixels), count
    with torch.accelerator.device_index(frames.get_device()):  # not every process has made it the current one
        _norm_silu[grid](
            frames,
            into,
            mean,
            scale,
            bias,
            height * width,
            frames.stride(0),
            into.stride(0),
            CHANNELS=channels,
            WIDTH=block,
            PIXELS=pixels,
            num_warps=_WARPS,
        )


@triton.jit(do_not_specialize=["pixels"])
def _norm_silu(
    frames,
    into,
    mean,
    scale,
    bias,
    pixels,
    step,
    into_step,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    PIXELS: tl.constexpr,
):
    frame = tl.program_id(1)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, WIDTH)
    at = pixel[:, None] * CHANNELS + channel
    is_channel = channel < CHANNELS
    is_inside = (pixel[:, None] < pixels) & is_channel
    centre = tl.load(mean + frame * CHANNELS + channel, mask=is_channel)
    factor = tl.load(scale + frame * CHANNELS + channel, mask=is_channel)
    offset = tl.load(bias + channel, mask=is_channel)
    frame = frame.to(tl.int64)  # frames may be more than 2^31 elements apart
    value = tl.load(frames + frame * step + at, mask=is_inside).to(tl.float32)
    value = (value - centre) * factor + offset
    tl.store(into + frame * into_step + at, value / (1 + tl.exp(-value)), mask=is_inside)
