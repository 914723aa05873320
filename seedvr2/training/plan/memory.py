"""Memory of one GPU by cause: what lies there all the time, and what a step adds."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import nn

from seedvr2.models.block import MMBlock
from seedvr2.models.dit import Trunk
from seedvr2.objectives.workload import Pass
from seedvr2.training.plan.costs import Costs
from seedvr2.training.plan.outline import Outline

MASTER, GRADIENT, AVERAGE, HALF = 4, 4, 4, 2  # bytes per parameter
AHEAD = 2  # blocks gathered at once: the one that computes and the next


class Memory(NamedTuple):
    """Bytes per GPU by cause. lasting: all the time. moments: what each moment of a step adds, by its name."""

    lasting: Mapping[str, float]
    moments: Mapping[str, Mapping[str, float]]

    @property
    def when(self) -> str:
        """The moment that needs most."""
        return max(self.moments, key=lambda name: sum(self.moments[name].values()))

    @property
    def total(self) -> float:
        """The most that is needed at once."""
        return sum(self.lasting.values()) + sum(self.moments[self.when].values())


def parameters(network: nn.Module, *, learning: bool = False) -> int:
    """Number of parameters, or of those that learn."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad or not learning)


def spread(network: nn.Module) -> bool:
    """Whether the ranks hold a network in shards; others are whole on each."""
    return any(isinstance(module, Trunk) for module in network.modules())


def state_bytes(optimizer: Callable) -> int:
    """Bytes of optimizer state per parameter, tried on a small one."""
    parameter = nn.Parameter(torch.zeros(64))
    parameter.grad = torch.zeros(64)
    made = optimizer([parameter])
    made.step()
    tensors = [x for x in made.state[parameter].values() if isinstance(x, torch.Tensor) and x.numel() == 64]
    return sum(x.element_size() for x in tensors)


def lasting(planned: Outline, shard: int, *, alone: bool, half: bool) -> dict[str, float]:
    """Weights, optimizer, averages and gradients; gradients stay until the next update of their network.

    alone: there is one rank; then frozen weights are stored as they are computed with.
    """
    found = dict.fromkeys(("fp32 weights", "optimizer", "EMA", "gradients", "frozen weights", "VAE"), 0.0)
    learners = {learner.network: learner for learner in planned.workload.learners}
    for name, network in planned.networks.items():
        parts = shard if spread(network) else 1
        frozen = HALF if alone and half and spread(network) else MASTER
        count, learning = parameters(network) / parts, parameters(network, learning=True) / parts
        if name not in learners:
            found["frozen weights"] += frozen * count
            continue
        found["fp32 weights"] += MASTER * learning
        if name not in planned.workload.borrowed:
            found["frozen weights"] += frozen * (count - learning)
        found["gradients"] += GRADIENT * learning
        found["optimizer"] += state_bytes(learners[name].optimizer) * learning
        found["EMA"] += AVERAGE * learning * learners[name].averaged
    if planned.vae is not None:
        found["VAE"] = MASTER * parameters(planned.vae)
    return {cause: size for cause, size in found.items() if size}


def gathered(network: nn.Module, *, alone: bool, half: bool, learns: bool) -> float:
    """Bytes of whole weights that FSDP holds at once: the outer layers, the widest block and the next one.

    If the network learns, also those of the block's gradients while they are scattered. One rank alone has no shards;
    there autocast keeps bf16 copies of the weights that learn.
    """
    if not spread(network):
        return 0.0
    if alone:
        return HALF * parameters(network, learning=True) if half else 0.0
    outside, widest = _parts(network)
    weights = (HALF if half else MASTER) * (outside + AHEAD * widest)
    return weights + (GRADIENT * widest if learns else 0.0)


@functools.lru_cache(maxsize=256)
def _parts(network: nn.Module) -> tuple[int, int]:
    # Parameters outside of the blocks, and those of the widest block.
    blocks = [parameters(m) for m in network.modules() if isinstance(m, MMBlock)]
    return parameters(network) - sum(blocks), max(blocks)


def moments(
    passes: list[tuple[Pass, Costs]], networks: Mapping[str, nn.Module], recompute: str, *, alone: bool, half: bool
) -> dict[str, dict[str, float]]:
    """What an update adds, by cause, at the end of its forward passes and in its backward pass."""
    whole = functools.partial(gathered, alone=alone, half=half)
    graded = [(p, costs) for p, costs in passes if p.grad != "none"]
    kept = float(sum(costs.activations(recompute) for _, costs in graded))
    taps = float(sum(costs.features for _, costs in passes))
    graded_taps = float(sum(costs.features for p, costs in graded if p.grad == "inputs"))
    first = {
        "activations": kept,
        "working set": float(max((forward_working(costs, p) for p, costs in passes), default=0)),
        "tapped features": taps,
        "gathered weights": max(whole(networks[p.network], learns=False) for p, _ in passes),
    }
    second = {
        "activations": kept,
        "working set": float(max((costs.working(recompute) for _, costs in graded), default=0)),
        "tapped features": graded_taps,
        "gathered weights": max(whole(networks[p.network], learns=p.grad == "weights") for p, _ in passes),
    }
    return {"forward": first, "backward": second}


def forward_working(costs: Costs, call: Pass) -> int:
    """Bytes that a pass without gradients needs while it runs."""
    if call.grad != "none":
        return 0
    return max([*(block.inputs + block.peak for block in costs.blocks), costs.around.peak])
