"""What sequence peers exchange, with gradients.

The gradient rule, stated once: between `enter` and `leave` gradients are `n` times their true value, for n peers.
Leaving the region multiplies by n (`gather_rows`, `gather_heads`), entering it divides by n (`scatter_rows`). FSDP's
mean over all ranks then is the sum over the shards of a sequence and the mean over the data. So one FSDP mesh over all
ranks is right for every parameter, objectives compute ordinary losses on whole tensors, and a generator may feed a
discriminator.

Only `all_to_all_single` and `all_gather_into_tensor`, in functional form: selective recompute sees and keeps them.
"""

import torch
import torch.distributed as dist
from torch import Tensor

OPS = torch.ops._c10d_functional


def padded(x: Tensor, parts: int) -> Tensor:
    """x (L, ...) with zero rows up to a multiple of `parts`."""
    extra = -len(x) % parts
    return torch.cat([x, x.new_zeros(extra, *x.shape[1:])]) if extra else x


def filled(x: Tensor, axis: int, parts: int) -> Tensor:
    """x with zeros up to a multiple of `parts` along an axis."""
    return padded(x.movedim(axis, 0), parts).movedim(0, axis) if x.shape[axis] % parts else x


def my_rows(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """This rank's slice of x (L, ...), padded to equal slices."""
    n = group.size()
    return padded(x, n).chunk(n)[group.rank()]


def gathered(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """x (L, ...) of all peers, one after the other: (n L, ...); without a gradient."""
    out = OPS.all_gather_into_tensor(x.contiguous(), group.size(), group.group_name)
    return OPS.wait_tensor(out)


def _exchanged(x: Tensor, split: int, join: int, group: dist.ProcessGroup) -> Tensor:
    n = group.size()
    ones = [1] * n
    out = OPS.all_to_all_single(torch.stack(x.chunk(n, split)), ones, ones, group.group_name)
    return torch.cat(OPS.wait_tensor(out).unbind(0), join)


class _ScatterRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, group):
        ctx.group, ctx.length = group, len(x)
        return my_rows(x, group).clone()

    @staticmethod
    def backward(ctx, grad):
        return gathered(grad, ctx.group)[: ctx.length] / ctx.group.size(), None


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, length, group):
        ctx.group = group
        return gathered(x, group)[:length].clone()

    @staticmethod
    def backward(ctx, grad):
        return my_rows(grad, ctx.group) * ctx.group.size(), None, None


class _AllToAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, split, join, group):
        ctx.exchange = split, join, group
        return _exchanged(x, split, join, group)

    @staticmethod
    def backward(ctx, grad):
        split, join, group = ctx.exchange
        return _exchanged(grad, join, split, group), None, None, None


class _GatherHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, group):
        ctx.group = group
        return torch.cat(gathered(x[None], group).unbind(0), dim=1)

    @staticmethod
    def backward(ctx, grad):
        n = ctx.group.size()
        return grad.chunk(n, dim=1)[ctx.group.rank()] * n, None


def scatter_rows(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """x (L, ...), whole on every peer -> this rank's (ceil(L / n), ...), the last ones padded with zeros."""
    return _ScatterRows.apply(x, group) if x.is_floating_point() else my_rows(x, group)


def gather_rows(x: Tensor, length: int, group: dist.ProcessGroup) -> Tensor:
    """Slices of `scatter_rows` -> the whole (length, ...) on every peer."""
    return _GatherRows.apply(x, length, group)


def all_to_all(x: Tensor, split: int, join: int, group: dist.ProcessGroup) -> Tensor:
    """Give each peer its part of axis `split` and join what comes back along axis `join`; `split` divides evenly."""
    return _AllToAll.apply(x, split, join, group)


def gather_heads(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Some heads (B, H / n, D) on each peer -> all heads (B, H, D) on every peer."""
    return _GatherHeads.apply(x, group)
