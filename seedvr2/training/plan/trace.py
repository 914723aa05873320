"""Run modules on the meta device and count what they would compute and keep: FLOPs and bytes, without allocating."""

import weakref
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Traced(NamedTuple):
    """Costs of a module's passes. FLOPs are those of matrix products and convolutions outside of attention.

    kept: bytes from the end of the forward pass until the backward pass, the result included, inputs and parameters
    not. peak: most bytes beyond `kept` that the backward pass holds at once (without one: that the forward pass holds),
    gradients of the module's own parameters included.
    """

    forward_flops: float
    backward_flops: float
    kept: int
    peak: int


class _Live(TorchDispatchMode):
    """Counts FLOPs, the bytes of living storages and their most so far; those known at the start count as zero."""

    def __init__(self, known: list[Tensor]):
        super().__init__()
        self.bytes = self.most = 0
        self.flops = 0.0
        self.seen: weakref.WeakSet = weakref.WeakSet(tensor.untyped_storage() for tensor in known)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
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


class _Kernels(TorchFunctionMode):
    """Fused kernels as they keep tensors for the backward pass: attention, and on a GPU the RMS norm."""

    def __init__(self, gpu: bool):
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.scaled_dot_product_attention:
            return _FlashAttention.apply(*args)
        if self.gpu and func is F.rms_norm:
            x, _, weight = (*args, None)[:3]
            return _FusedNorm.apply(x, weight)
        return func(*args, **(kwargs or {}))


def trace(
    module: nn.Module, call: Callable[..., object], *inputs: Tensor, backward: bool = True, gpu: bool = True
) -> Traced:
    """Costs of `call(*inputs)`, whose parameters are those of `module`; everything is on the meta device.

    backward: with gradients for inputs that require them and for parameters that learn. gpu: with a GPU's kernels.
    """
    live = _Live([*module.parameters(), *module.buffers(), *inputs])
    with torch.set_grad_enabled(backward), _Kernels(gpu):
        with live:
            out = call(*inputs)
        if not backward:
            kept = _bytes(out)
            return Traced(live.flops, 0.0, kept, live.most - kept)
        forward, kept, live.most = live.flops, live.bytes, live.bytes
        ends = [x for x in tree_leaves(out) if isinstance(x, Tensor) and x.requires_grad]
        with live:
            torch.autograd.backward(ends, [torch.empty_like(x) for x in ends])
        del out, ends
    for tensor in (*module.parameters(), *inputs):
        tensor.grad = None
    return Traced(forward, live.flops - forward, kept, live.most - kept)


def _bytes(out: object) -> int:
    storages = {x.untyped_storage() for x in tree_leaves(out) if isinstance(x, Tensor)}
    return sum(storage.nbytes() for storage in storages)
