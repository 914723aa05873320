"""A GPU that is not there: tensors on it have shapes, types and a place, but no values; what comes back is all ones.

Mixing devices fails as it would there; what waits for the GPU, or makes it wait, is noted.
"""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

import seedvr2
from seedvr2.models.dit import plan_layer
from seedvr2.models.vae.inference.fused import fused_silu
from seedvr2.tracing import STAND_INS

_ATEN = torch.ops.aten
_COPIES = (_ATEN._to_copy.default, _ATEN.copy_.default)


class PretendedGPU(TorchDispatchMode):
    """Inside of it "cuda" is a device. stops: places in the package that wait for it, each with its line."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.stops: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run what concerns the GPU without values, everything else as it is."""
        if func is torch.ops.prim.device.default:
            return args[0].fake_device
        kwargs = {name: value for name, value in (kwargs or {}).items() if name != "pin_memory"}
        given = tree_leaves((args, kwargs))
        if func is _ATEN._pin_memory.default:
            return args[0]
        run = STAND_INS.get(func, func)
        if not any(isinstance(x, FakeTensor) or (isinstance(x, torch.device) and x.type == "cuda") for x in given):
            return func(*args, **kwargs)
        places = {x.device.type for x in given if isinstance(x, torch.Tensor)}
        if func is _ATEN._local_scalar_dense.default:
            self.stops.append(_here())
            return torch.ones((), dtype=args[0].dtype).item()
        if func is _ATEN.copy_.default and args[0].device.type == "cpu":
            out = args[0].fill_(1)
        else:
            args, kwargs = tree_map_only(torch.Tensor, self._there, (args, kwargs))
            with self.fake:
                out = run(*args, **kwargs)
            out = tree_map_only(FakeTensor, _back, out)
        places |= {x.device.type for x in tree_leaves(out) if isinstance(x, torch.Tensor)}
        if func in _COPIES and len(places) > 1 and not (kwargs.get("non_blocking") or args[2:]):
            self.stops.append(_here())
        return out

    def _there(self, x: torch.Tensor) -> torch.Tensor:
        return x if isinstance(x, FakeTensor) else self.fake.from_tensor(x)

    @staticmethod
    def hold(network: nn.Module) -> nn.Module:
        """A network, its weights on the GPU."""
        for module in network.modules():
            for own in (module._parameters, module._buffers):
                for name, x in own.items():
                    if x is not None:
                        there = torch.empty_like(x, device="cuda")
                        own[name] = nn.Parameter(there, x.requires_grad) if isinstance(x, nn.Parameter) else there
        return network


def _back(x: FakeTensor) -> torch.Tensor:
    return torch.ones(x.shape, dtype=x.dtype) if x.device.type == "cpu" else x


class _Event:
    def __init__(self, *_: object, enable_timing: bool = False) -> None: ...
    def record(self, *_: object) -> None: ...
    def synchronize(self) -> None: ...
    def query(self) -> bool:
        return False

    def elapsed_time(self, _end: object) -> float:
        return 1.0


@contextlib.contextmanager
def pretended_gpu() -> Iterator[PretendedGPU]:
    """A Hopper GPU for the code inside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
        patch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
        patch.setattr(torch.accelerator, "current_stream", lambda device=None: None)
        patch.setattr(torch.accelerator, "synchronize", lambda device=None: gpu.stops.append(_here()))
        patch.setattr(torch, "Event", _Event)
        torch._C._ensureCUDADeviceGuardSet()
        before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor` on the GPU is a copy that can be seen
        plan_layer.cache_clear()
        fused_silu.cache_clear()
        try:
            with PretendedGPU() as gpu:
                yield gpu
        finally:
            plan_layer.cache_clear()
            fused_silu.cache_clear()
            torch._C._set_only_lift_cpu_tensors(before)


def _here() -> str:
    inside = str(Path(seedvr2.__file__).parent)
    frame = next((x for x in reversed(traceback.extract_stack()) if x.filename.startswith(inside)), None)
    return "outside" if frame is None else f"{frame.filename.removeprefix(inside)}:{frame.lineno} {frame.line}"
