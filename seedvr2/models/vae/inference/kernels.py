"""Kernels of our own for CUDA and ROCm, in Triton, which not every system has; nothing may need them."""

import torch
import triton
import triton.language as tl
from torch import Tensor

_ELEMENTS = 4096  # of one program
_WARPS = 8


def scaled_silu(frames: Tensor, scale: Tensor, shift: Tensor, into: Tensor) -> None:
    """SiLU of `scale` * frames + `shift`, read once and written once; computed in float32.

    Args:
        frames: (T, C, H, W) of 16 or 32 bits; each frame is one block of memory, channels last.
        scale: (T, C) float32, as is `shift`.
        into: takes the result; of the type and shape of `frames`, and as they are in memory.
    """
    count, channels, height, width = frames.shape
    block = triton.next_power_of_2(channels)
    pixels = max(1, _ELEMENTS // block)
    grid = triton.cdiv(height * width, pixels), count
    with torch.accelerator.device_index(frames.get_device()):  # not every process has made it the current one
        _scaled_silu[grid](
            frames,
            into,
            scale,
            shift,
            height * width,
            frames.stride(0),
            into.stride(0),
            CHANNELS=channels,
            WIDTH=block,
            PIXELS=pixels,
            num_warps=_WARPS,
        )


@triton.jit
def _scaled_silu(
    frames,
    into,
    scale,
    shift,
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
    factor = tl.load(scale + frame * CHANNELS + channel, mask=is_channel)
    offset = tl.load(shift + frame * CHANNELS + channel, mask=is_channel)
    frame = frame.to(tl.int64)  # frames may be more than 2^31 elements apart
    value = tl.load(frames + frame * step + at, mask=is_inside).to(tl.float32) * factor + offset
    tl.store(into + frame * into_step + at, value / (1 + tl.exp(-value)), mask=is_inside)
