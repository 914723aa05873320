"""Norm and SiLU as one kernel instead of two, on devices that have it."""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_OLDEST = (7, 0)  # what Triton knows of NVIDIA's GPUs; AMD's have larger numbers

NormSilu = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], None]


@functools.cache
def fused_silu(device: torch.device, dtype: torch.dtype, channels: int) -> NormSilu | None:
    """`seedvr2.models.vae.inference.kernels.norm_silu` for frames of some channels on a device, or None.

    It is None where the kernel cannot be made (Triton is missing, or a compiler or driver that it needs), or gives a
    wrong result in a test.
    """
    if device.type != "cuda" or dtype.itemsize > 4:
        return None
    if torch.get_device_module(device).get_device_capability(device) < _OLDEST:
        return None
    return _tested(device, dtype, channels)


def _tested(device: torch.device, dtype: torch.dtype, channels: int) -> NormSilu | None:
    try:
        from seedvr2.models.vae.inference.kernels import norm_silu

        return norm_silu if _is_right(norm_silu, device, dtype, channels) else None
    except torch.OutOfMemoryError:
        raise  # there will be memory another time
    except Exception:
        return None


def _is_right(norm_silu: NormSilu, device: torch.device, dtype: torch.dtype, channels: int) -> bool:
    """Whether a strip of frames comes out as it should, and what is beside it stays as it was."""
    values = torch.linspace(-3, 3, 2 * 9 * 13 * channels, device=device)
    frames = values.to(dtype).view(2, 9, 13, channels).movedim(-1, 1)
    mean = torch.linspace(-1, 1, 2 * channels, device=device).view(2, channels)
    scale, bias = 1.5 + mean, mean[0].flip(0)
    made = torch.zeros_like(frames)
    norm_silu(frames[:, :, 2:7], mean, scale, bias, made[:, :, 2:7])
    right = F.silu((frames - mean[..., None, None]) * scale[..., None, None] + bias[:, None, None]).to(dtype)
    right[:, :, :2] = right[:, :, 7:] = 0
    return torch.allclose(made, right, rtol=max(2**-18, 2 * torch.finfo(dtype).eps), atol=1e-5)
