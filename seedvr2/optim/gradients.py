"""Gradients of parameters that ranks hold whole or in shards."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard


def local(x: Tensor) -> Tensor:
    """What this rank holds of a tensor: its shard, or all of it."""
    return x.to_local() if isinstance(x, DTensor) else x


def global_norm(gradients: Iterable[Tensor]) -> Tensor:
    """L2 norm of all gradients together, the same on every rank; one exchange per mesh that tensors are sharded on."""
    squares: dict[tuple, list[Tensor]] = {}
    for gradient in gradients:
        where = ()
        if isinstance(gradient, DTensor):
            sharded = [i for i, placement in enumerate(gradient.placements) if isinstance(placement, Shard)]
            where = tuple(gradient.device_mesh.get_group(i) for i in sharded)
        squares.setdefault(where, []).append(local(gradient))
    total = torch.zeros(())
    for groups, tensors in squares.items():
        square = torch.stack(torch._foreach_norm(tensors)).square().sum()
        for group in groups:
            dist.all_reduce(square, group=group)
        total = total.to(square) + square
    return total.sqrt()


@torch.no_grad()
def clip(gradients: Iterable[Tensor], norm: Tensor, limit: float) -> None:
    """Scale gradients in place so that their norm is at most `limit`."""
    torch._foreach_mul_([local(gradient) for gradient in gradients], (limit / (norm + 1e-6)).clamp(max=1.0))
