"""What a module's passes would compute and keep, forward and backward, traced on the meta device."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from seedvr2.tracing import Kernels, Live


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


def trace(
    module: nn.Module, call: Callable[..., object], *inputs: Tensor, backward: bool = True, gpu: bool = True
) -> Traced:
    """Costs of `call(*inputs)`, whose parameters are those of `module`; everything is on the meta device.

    backward: with gradients for inputs that require them and for parameters that learn. gpu: with a GPU's kernels.
    """
    live = Live([*module.parameters(), *module.buffers(), *inputs])
    with torch.set_grad_enabled(backward), Kernels(gpu):
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
