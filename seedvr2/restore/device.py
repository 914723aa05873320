"""Where the networks run, and in which precision."""

import torch

from seedvr2.errors import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str | None) -> torch.device:
    """The device of a name, None for the GPU if there is one; raises UserError if there is no such device."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()  # the meta device has no values to bring back
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name} is not available here; use cpu, or cuda on a machine with a GPU") from error
    return device


def pick_dtype(name: str | None, device: torch.device) -> str:
    """A key of `DTYPES`; None chooses bf16 where it is fast: on CUDA, and on CPUs that multiply it natively."""
    if name is not None:
        return name
    is_fast = device.type == "cuda" or (device.type == "cpu" and multiplies_bfloat16())
    return "bf16" if is_fast else "fp32"


def multiplies_bfloat16() -> bool:
    """Whether this CPU has bf16 arithmetic of its own (AVX-512 BF16 or AMX), which runs the networks twice as fast."""
    if not hasattr(torch.cpu, "get_capabilities"):  # PyTorch 2.11 may lack it
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
