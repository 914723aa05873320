"""What one GPU sends in a step, and how long that takes."""

from typing import NamedTuple

from torch import nn

from seedvr2.objectives.workload import Pass
from seedvr2.parallel.mesh import Parallelism
from seedvr2.training.plan.costs import Load, head_width
from seedvr2.training.plan.gpu import Gpu
from seedvr2.training.plan.memory import GRADIENT, HALF, MASTER, parameters, spread

HEAD_PARTS = 2  # keys and values of a discriminator's head are exchanged


class Traffic(NamedTuple):
    """Bytes that a GPU sends per step. Those of weights and gradients overlap with computation, exchanges do not."""

    gather: float = 0.0
    scatter: float = 0.0
    reduce: float = 0.0
    exchange: float = 0.0

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, count: float) -> "Traffic":
        """The same so many times."""
        return Traffic(*(count * part for part in self))

    def seconds(self, gpu: Gpu, parallel: Parallelism, replicate: int, shard: int) -> tuple[float, float]:
        """(weights and gradients, exchanges of sequence parallelism)."""
        weights = (self.gather + self.scatter) / gpu.bandwidth(shard)
        weights += self.reduce / gpu.bandwidth(replicate, stride=shard)
        return weights, self.exchange / gpu.bandwidth(parallel.sequence)


def of_pass(
    network: nn.Module,
    call: Pass,
    load: Load,
    *,
    recompute: str,
    shard: int,
    half: bool,
) -> Traffic:
    """Traffic of one pass over one micro-batch, without that of gradients."""
    if not spread(network):
        return Traffic()
    gathers = 1 if call.grad == "none" else 2
    weights = (HALF if half else MASTER) * parameters(network) * (shard - 1) / shard
    exchanges = {"none": 1, "full": 2, "selective": 1}[recompute] + 1 if call.grad != "none" else 1
    return Traffic(gather=gathers * weights, exchange=exchanges * exchanged(network, load)).times(call.times)


def exchanged(network: nn.Module, load: Load) -> float:
    """Bytes that a rank sends to its peers in one forward pass: q, k, v and the result of every attention layer, keys
    and values of a discriminator's heads, and what is joined at the end.
    """
    n, trunk = load.sequence, network.trunk
    if n == 1:
        return 0.0
    rows = load.mine(load.tokens) + load.mine(len(load.grids) * load.text)
    width, size = head_width(trunk), load.dtype.itemsize
    heads = len(getattr(network, "heads", ()))
    layers = 4 * rows * len(trunk.blocks) + HEAD_PARTS * load.mine(load.tokens) * heads
    joined = load.mine(load.tokens) * (heads * trunk.width if heads else network.vid_out.proj.out_features)
    return ((n - 1) / n * layers * width + (n - 1) * joined) * size


def of_gradients(learning: float, *, sharded: bool, replicate: int, shard: int) -> Traffic:
    """Traffic of one exchange of a network's gradients, in fp32."""
    if not sharded:
        world = replicate * shard
        return Traffic(reduce=2 * GRADIENT * learning * (world - 1) / world)
    mine = learning / shard
    return Traffic(
        scatter=GRADIENT * learning * (shard - 1) / shard, reduce=2 * GRADIENT * mine * (replicate - 1) / replicate
    )
