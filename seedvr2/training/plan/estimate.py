"""Memory, traffic and time of one step of a stage on clips of one shape."""

from collections.abc import Mapping
from typing import NamedTuple

import torch

from seedvr2.parallel.mesh import Parallelism
from seedvr2.training.plan.communication import Traffic, of_gradients, of_pass
from seedvr2.training.plan.costs import Costs, Load, latent_grid, trunk_costs, vae_costs
from seedvr2.training.plan.gpu import Gpu
from seedvr2.training.plan.memory import Memory, lasting, moments, parameters, spread
from seedvr2.training.plan.outline import Outline

STRIDE = 4  # frames per latent frame
SIDES = 2  # the clean and the degraded clip are encoded


class Estimate(NamedTuple):
    """A step on clips of one shape. clips and tokens: of the global batch. flops: of one GPU, by kind of work.

    activations: bytes by recomputation, at the worst update. seconds: by cause.
    """

    shape: object
    clips: int
    tokens: int
    memory: Memory
    traffic: Traffic
    flops: Mapping[str, float]
    activations: Mapping[str, float]
    seconds: Mapping[str, float]

    @property
    def total_seconds(self) -> float:
        """Computation or traffic of weights, whichever is longer, then everything that waits."""
        waits = sum(value for name, value in self.seconds.items() if name not in ("computation", "weights"))
        return max(self.seconds["computation"], self.seconds["weights"]) + waits


def estimate(planned: Outline, shape, parallel: Parallelism, world: int, gpu: Gpu, *, half: bool = True) -> Estimate:
    """One step of a stage on `world` ranks; the settings must have passed `check`."""
    replicate, shard = parallel.degrees(world)
    recompute, accumulate = parallel.recompute, planned.stage.accumulate
    mine = shape.batch * parallel.sequence // world // accumulate  # clips of a micro-batch
    grid = latent_grid(shape.frames, shape.height, shape.width)
    dtype = torch.bfloat16 if half else torch.float32
    traffic, forward, backward, again = Traffic(), 0.0, 0.0, 0.0
    when: dict[str, dict[str, float]] = {}
    kept = dict.fromkeys(("none", "selective", "full"), 0.0)
    for update, calls in planned.workload.updates.items():
        passes = []
        for call in calls:
            network = planned.networks[call.network]
            if planned.workload.pixels:
                size = shape.frames, shape.height, shape.width
                costs = vae_costs(network, *size, mine, grad=call.grad != "none")
            else:
                load = Load((grid,) * (mine * call.samples), planned.text, parallel.sequence, dtype)
                costs = trunk_costs(network, load, call.grad)
                sent = of_pass(network, call, load, recompute=recompute, shard=shard, half=half)
                traffic += sent.times(accumulate)
            passes.append((call, costs))
            forward += costs.forward * call.times * accumulate
            if call.grad != "none":
                backward += costs.backward * accumulate
                again += costs.repeated(recompute) * accumulate if costs.blocks else 0.0
        added = moments(passes, planned.networks, recompute, alone=world == 1, half=half)
        when |= {f"{moment} passes of the {update}": causes for moment, causes in added.items()}
        for kind in kept:
            kept[kind] = max(kept[kind], sum(costs.activations(kind) for call, costs in passes if call.grad != "none"))
    for learner in planned.workload.learners:
        network = planned.networks[learner.network]
        learning = parameters(network, learning=True)
        each = of_gradients(learning, sharded=spread(network), replicate=replicate, shard=shard)
        traffic += each.times(accumulate if parallel.sync == "every" and spread(network) else 1)
    flops = {"forward": forward, "backward": backward, "recomputed": again}
    if planned.vae is not None:
        once, passing = encode_costs(planned, shape, parallel)
        when["encoding"] = {"VAE activations": float(passing.around.peak)}
        if not planned.cached:
            flops["encoding"] = SIDES * mine * accumulate * once.forward
    seconds = spent(flops, traffic, gpu, parallel, (replicate, shard), pixels=planned.workload.pixels)
    memory = Memory(lasting(planned, shard, alone=world == 1, half=half), when)
    tokens = shape.batch * grid[0] * grid[1] * grid[2]
    return Estimate(shape, shape.batch, tokens, memory, traffic, flops, kept, seconds)


def encode_costs(planned: Outline, shape, parallel: Parallelism) -> tuple[Costs, Costs]:
    """The frozen VAE on one rank's share of one clip, one side of the pair, and on what passes through it at once."""
    latents = (shape.frames - 1) // STRIDE + 1
    share = -(-latents // parallel.sequence) if latents >= parallel.sequence else latents
    size = shape.height, shape.width
    at_once = min(share, planned.chunk) + (share > planned.chunk)  # a chunk, and the frames that it looks back on
    return tuple(vae_costs(planned.vae, STRIDE * (count - 1) + 1, *size, 1, grad=False) for count in (share, at_once))


def spent(
    flops: Mapping[str, float],
    traffic: Traffic,
    gpu: Gpu,
    parallel: Parallelism,
    mesh: tuple[int, int],
    *,
    pixels: bool,
) -> dict[str, float]:
    """Seconds by cause; the VAE computes in TF32, everything else in bf16."""
    speed = 1e12 * gpu.efficiency * (gpu.tf32 if pixels else gpu.peak)
    weights, exchanges = traffic.seconds(gpu, parallel, *mesh)
    passes = sum(value for name, value in flops.items() if name != "encoding")
    seconds = {"computation": passes / speed, "weights": weights, "exchanges": exchanges}
    if "encoding" in flops:
        seconds["encoding"] = flops["encoding"] / (1e12 * gpu.efficiency * gpu.tf32)
    return seconds
