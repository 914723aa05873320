"""Memory of the machine: what is free, how amounts are written, how it is given back, what running out looks like."""

import contextlib
import ctypes
import re
from pathlib import Path

import psutil
import torch

from seedvr2.errors import UserError

_UNITS = {"B": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BLOCK = 4 << 20  # bytes from which a block of host memory is of its own: more than most of a strip's tensors
_MMAP_THRESHOLD = -3  # of mallopt
_PHRASES = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "alloc_failed",
    "unable to find an engine",  # cuDNN, whose every engine lacked memory
)


def parse_memory(text: str) -> int:
    """Bytes of a size such as 24GB, 800MB or 7.5G (a unit must be there); raises UserError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|[KMGT]I?B?)", text.strip().upper())
    if found is None or not float(found[1]):
        raise UserError(f"--max-memory {text} is not an amount of memory; write for instance 24GB")
    return int(float(found[1]) * _UNITS[found[2][0]])


def write_memory(size: float) -> str:
    """Bytes in words."""
    return f"{size / 1e9:.2f} GB" if size < 1e10 else f"{size / 1e9:.1f} GB"


def free_memory(device: torch.device) -> int:
    """Bytes of a device that this process could take, beside what it holds already."""
    if device.type == "cpu":
        return min(psutil.virtual_memory().available, _container())
    module = torch.get_device_module(device)
    if device.type == "mps":
        return module.recommended_max_memory() - module.current_allocated_memory()
    return module.mem_get_info(device)[0] + module.memory_reserved(device) - module.memory_allocated(device)


def _container() -> float:
    folder = Path("/sys/fs/cgroup")
    try:
        used = int((folder / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
        return int((folder / "memory.max").read_text()) - used + (int(cached[1]) if cached else 0)
    except (OSError, ValueError):  # no container, or one without a limit
        return float("inf")


def give_back_at_once() -> None:
    """Let large blocks of host memory go back to the system as soon as they are free, where the C library is glibc.

    By itself it learns to keep blocks of up to 32 MB, which tensors of changing sizes then fragment. Smaller ones stay:
    to take fresh pages for each strip of a layer costs as much as the layer.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _BLOCK)


def give_back() -> None:
    """Let what is free of host memory go back now, between blocks in use too, where the C library is glibc."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, of whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _PHRASES)
