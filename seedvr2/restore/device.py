"""Where the networks run, in which precision, and what they took there; the one place that asks the hardware.

CUDA stands for ROCm as well, which PyTorch gives the same name.
"""

import contextlib
import re
from pathlib import Path

import torch
from torch import nn

from seedvr2.errors import UserError
from seedvr2.io.cache import Kept

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def pick_device(name: str | None) -> torch.device:
    """The device of a name, None for the accelerator if there is one; raises UserError if there is no such device."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name is None:
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()  # the meta device has no values to bring back
    except (RuntimeError, AssertionError, ImportError) as error:
        others = "cuda on a machine with a GPU" if accelerator is None else accelerator.type
        raise UserError(f"--device {name} is not available here; use cpu, or {others}") from error
    return device


def takes_cpu(device: str | None) -> bool:
    """Whether several processes run on the CPU, or on a GPU each; raises UserError where they can do neither."""
    found = pick_device(device)
    if found.type not in ("cpu", "cuda") or found.index is not None:
        raise UserError(
            f"several processes run on the CPU or on a CUDA device each, and not on {found}; start one process,"
            " or use --device cpu or cuda"
        )
    return found.type == "cpu"


def native_dtype(device: torch.device) -> tuple[str, str]:
    """The key of `DTYPES` in which this device runs the networks best, and why."""
    if device.type == "cpu":
        return ("bf16", "the CPU multiplies it") if multiplies_bfloat16() else ("fp32", "the CPU has no bf16")
    if device.type == "cuda":
        is_native = torch.version.hip is not None or torch.cuda.get_device_properties(device).major >= 8
        return ("bf16", "the GPU has it") if is_native else ("fp16", "the GPU has no bf16")
    tried = [name for name in ("bf16", "fp16") if computes(device, DTYPES[name])]
    return (tried[0], f"{device.type} has it") if tried else ("fp32", f"{device.type} has no half precision")


def ways_of(device: torch.device) -> Kept | None:
    """The fastest ways to convolve on a CUDA device, each found by the first that needs it, for all runs with this GPU
    and these versions; None elsewhere, where the usual ones do.
    """
    if device.type != "cuda":
        return None
    name, cudnn = torch.cuda.get_device_name(device), torch.backends.cudnn.version()
    if torch.version.hip is not None:  # where names are shared
        name = f"{name} {torch.cuda.get_device_properties(device).gcnArchName}"
    return Kept(re.sub(r"[^\w.+-]+", "_", f"convolutions {name} torch {torch.__version__} cudnn {cudnn}") + ".json")


def multiplies_bfloat16() -> bool:
    """Whether this CPU has bf16 arithmetic of its own (AVX-512 BF16 or AMX), which runs the networks twice as fast."""
    if not hasattr(torch.cpu, "get_capabilities"):  # PyTorch 2.11 may lack it
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


@torch.no_grad()
def computes(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a device has the operations in a type that systems leave out: convolutions of clips, attention, norms."""
    try:
        clip = torch.ones(1, 8, 3, 4, 4, device=device, dtype=dtype)
        hidden = nn.Conv3d(8, 8, 3, padding=1).to(device, dtype)(clip)
        hidden = nn.GroupNorm(4, 8).to(device, dtype)(hidden).flatten(2)
        torch.nn.functional.scaled_dot_product_attention(hidden, hidden, hidden).cpu()
    except (RuntimeError, TypeError):
        return False
    return True


def forget_peak(device: torch.device) -> None:
    """Let `peak_memory` count from here, where that is possible."""
    if device.type == "cpu":
        with contextlib.suppress(OSError):
            _RESET.write_text("5")
    elif hasattr(module := torch.get_device_module(device), "reset_peak_memory_stats"):
        module.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """Most bytes of tensors at a time on an accelerator, or of the process on a CPU; None where nobody counts them."""
    if device.type == "cpu":
        with contextlib.suppress(OSError):
            for line in _STATUS.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return None
    module = torch.get_device_module(device)
    return module.max_memory_allocated(device) if hasattr(module, "max_memory_allocated") else None
