"""Run code on the meta device and count what it would compute and keep: FLOPs and bytes, without allocating."""

import contextlib
import weakref
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_stood_for: ContextVar[str] = ContextVar("the kind of device that the meta device stands for", default="meta")
_counted: ContextVar[int] = ContextVar("how many times what runs counts", default=1)


def kind_of(device: torch.device) -> str:
    """The kind of a device, "cpu" or "cuda" for instance; of the meta device the one that it stands for."""
    return _stood_for.get() if device.type == "meta" else device.type


@contextlib.contextmanager
def standing_for(kind: str) -> Iterator[None]:
    """Let code on the meta device behave as on a device of a kind."""
    token = _stood_for.set(kind)
    try:
        yield
    finally:
        _stood_for.reset(token)


def alike(items: range, device: torch.device) -> Iterator[int]:
    """The items, for a loop whose turns between the first and the last all do the same.

    On the meta device only one of these comes, and counts for all of them; so a turn must not need what another made.
    """
    if device.type != "meta" or len(items) <= 3:
        yield from items
        return
    yield items[0]
    token = _counted.set(_counted.get() * (len(items) - 2))
    try:
        yield items[1]
    finally:
        _counted.reset(token)
    yield items[-1]


def _batch_statistics(x: Tensor, mean: Tensor, var: Tensor, momentum: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(mean), torch.empty_like(var)


def _batch_norm(x: Tensor, weight, bias, mean, var, training: bool, momentum: float, eps: float) -> tuple[Tensor, ...]:
    count = x.shape[1] if training else 0
    return torch.empty_like(x), *(x.new_empty(count, dtype=torch.float32) for _ in range(2))


# what stands for operations that PyTorch lacks on the meta device, or works out slowly there
STAND_INS = {
    torch.ops.aten.batch_norm_update_stats.default: _batch_statistics,
    torch.ops.aten.native_batch_norm.default: _batch_norm,
}


class Live(TorchDispatchMode):
    """Counts the bytes of living storages and their most so far, FLOPs of matrix products and convolutions, and bytes
    that all other operations read and write.

    `known`: tensors that exist already, which count as zero. `flops` and `moved` run on; `most` may be set anew.
    `layers`: FLOPs by operation and shape of its weight.
    """

    def __init__(self, known: list[Tensor] | None = None):
        super().__init__()
        self.bytes = self.most = 0
        self.flops = self.moved = 0.0
        self.layers: Counter[tuple] = Counter()
        self.seen: weakref.WeakSet = weakref.WeakSet(tensor.untyped_storage() for tensor in known or ())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = STAND_INS.get(func, func)(*args, **(kwargs or {}))
        if func.is_view:
            return out
        leaves = [out] if isinstance(out, Tensor) else [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if count := flop_registry.get(func._overloadpacket):
            flops = _counted.get() * count(*args, **(kwargs or {}), out_val=out)
            self.flops += flops
            tensors = [x for x in args if isinstance(x, Tensor) and x.ndim > 1]
            self.layers[(func._overloadpacket.__name__, tuple(tensors[1].shape))] += flops
        else:
            self.moved += _counted.get() * sum(x.nbytes for x in (*args, *leaves) if isinstance(x, Tensor))
        for leaf in leaves:
            if leaf.is_meta:
                self._add(leaf.untyped_storage())
        return out

    def _add(self, storage) -> None:
        if storage not in self.seen:
            self.seen.add(storage)
            size = storage.nbytes()
            self.bytes += size
            self.most = max(self.most, self.bytes)
            weakref.finalize(storage, self._drop, size)

    def _drop(self, size: int) -> None:
        self.bytes -= size


class _FlashAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v):
        out = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx, grad):
        q, k, v, *_ = ctx.saved_tensors
        return tuple(torch.empty_like(x) for x in (q, k, v))


class _FusedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight, x.new_empty((*x.shape[:-1], 1), dtype=torch.float32))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx, grad):
        x, weight, _ = ctx.saved_tensors
        return torch.empty_like(x), None if weight is None else torch.empty_like(weight)


class Kernels(TorchFunctionMode):
    """Fused kernels as they keep tensors for the backward pass: attention, and on a GPU the RMS norm.

    `attention`: FLOPs of attention's forward passes so far, which `Live` does not see.
    """

    def __init__(self, gpu: bool):
        super().__init__()
        self.gpu, self.attention = gpu, 0.0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.scaled_dot_product_attention:
            query, key, value = (x.shape for x in args[:3])
            self.attention += _counted.get() * 2.0 * query[:-1].numel() * key[-2] * (key[-1] + value[-1])
            return _FlashAttention.apply(*args)
        if self.gpu and func is F.rms_norm:
            x, _, weight = (*args, None)[:3]
            return _FusedNorm.apply(x, weight)
        return func(*args, **(kwargs or {}))
