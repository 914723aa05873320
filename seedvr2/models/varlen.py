"""Attention over sequences of different lengths packed in one row: torch varlen on CUDA, equal-length batches
elsewhere.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def varlen_attention(
    q: Tensor, k: Tensor, v: Tensor, runs: list[tuple[int, int]], *, starts: Tensor, backend: str = "auto"
) -> Tensor:
    """Softmax attention inside each sequence, both directions, scale 1/sqrt(D).

    q, k, v: (P, H, D), sequences one after the other. runs: (count, length) of consecutive equally long sequences.
    starts: `start_offsets` of the runs, on the same device.
    backend: `varlen` (NVIDIA GPUs from Ampere on, bf16 or fp16), `bucketed` (anywhere, any float type) or `auto`.
    """
    if backend == "auto":
        backend = "varlen" if has_varlen(q.device, q.dtype) else "bucketed"
    if backend == "varlen":
        return _varlen(q, k, v, starts, max(length for _, length in runs))
    if backend == "bucketed":
        return _bucketed(q, k, v, runs)
    raise ValueError(f"attention backend {backend!r} is unknown: use 'auto', 'varlen' or 'bucketed'")


def has_varlen(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch's attention over packed sequences runs there: its kernels need Ampere or newer."""
    if device.type != "cuda" or torch.version.hip is not None or dtype not in (torch.bfloat16, torch.float16):
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0) and torch.backends.cuda.is_flash_attention_available()


def start_offsets(runs: list[tuple[int, int]]) -> Tensor:
    """Row at which each sequence of `runs` begins, and the end of the last one: int32, on the CPU."""
    lengths = torch.tensor([length for count, length in runs for _ in range(count)], dtype=torch.int32)
    return F.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))


def _varlen(q: Tensor, k: Tensor, v: Tensor, starts: Tensor, longest: int) -> Tensor:
    # Imported here because the import initialises CUDA extensions.
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn(q.contiguous(), k.contiguous(), v.contiguous(), starts, starts, longest, longest)


def _bucketed(q: Tensor, k: Tensor, v: Tensor, runs: list[tuple[int, int]]) -> Tensor:
    # The backward pass of CPU attention takes eight times as long in half precision as in fp32.
    if q.device.type == "cpu" and q.requires_grad and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            return _bucketed(q.float(), k.float(), v.float(), runs).to(v.dtype)
    parts = []
    sizes = [count * length for count, length in runs]
    for run, *qkv in zip(runs, q.split(sizes), k.split(sizes), v.split(sizes), strict=True):
        batch = [x.unflatten(0, run).transpose(1, 2) for x in qkv]  # (count, H, length, D)
        parts.append(F.scaled_dot_product_attention(*batch).transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)
