"""Norm and SiLU as one kernel instead of two, on devices where that works and pays."""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from seedvr2.models.vae.inference.fastest import shortest

_SHAPE = 2, 384, 384, 128  # of the frames of a test: more than a device keeps in its cache

ScaledSilu = Callable[[Tensor, Tensor, Tensor, Tensor], None]


@functools.cache
def fused_silu(device: torch.device, dtype: torch.dtype) -> ScaledSilu | None:
    """`seedvr2.models.vae.inference.kernels.scaled_silu`, or None.

    It is None where a short test shows that the kernel cannot be made (Triton is missing, or a compiler or driver that
    it needs), is wrong, or is not faster than batch norm and SiLU one after the other.
    """
    if device.type != "cuda" or dtype.itemsize > 4:
        return None
    try:
        from seedvr2.models.vae.inference.kernels import scaled_silu

        return scaled_silu if _pays(scaled_silu, device, dtype) else None
    except Exception:
        return None


def _pays(scaled_silu: ScaledSilu, device: torch.device, dtype: torch.dtype) -> bool:
    count, height, width, channels = _SHAPE
    frames = torch.linspace(-3, 3, height * width * channels, device=device).to(dtype)
    frames = frames.expand(count, -1).reshape(_SHAPE).movedim(-1, 1)
    scale = torch.linspace(-2, 2, count * channels, device=device).view(count, channels)
    shift, made = scale.flip(0), torch.empty_like(frames)

    def together() -> None:
        scaled_silu(frames, scale, shift, made)

    def apart() -> None:
        zero, one = torch.zeros_like(shift[0]), torch.ones_like(shift[0])
        for number, frame in enumerate(frames.split(1)):
            normal = F.batch_norm(frame, zero, one, scale[number], shift[number], eps=0.0)
            torch.ops.aten.silu.out(normal, out=made[number : number + 1])

    seconds = shortest(apart, device)
    is_faster = shortest(together, device) < seconds
    for number in range(count):
        right = F.silu(frames[number] * scale[number, :, None, None] + shift[number, :, None, None])
        torch.testing.assert_close(made[number], right.to(dtype))
    return is_faster
