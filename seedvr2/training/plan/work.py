"""FLOPs that one clip needs in one training step."""

import functools
from collections.abc import Callable

from seedvr2.models.windows import Size
from seedvr2.training.plan.costs import Load, trunk_costs
from seedvr2.training.plan.outline import describes_itself, outline
from seedvr2.training.stage import Stage


def clip_flops(stage: Stage) -> Callable[[Size], float] | None:
    """Function of a clip's token grid: FLOPs of all passes of a step through generators and discriminators.

    What is computed again to save memory does not count, nor does encoding. None for stages that train on pixels, or
    whose objective does not tell its workload.
    """
    if not describes_itself(stage):
        return None
    planned = outline(stage)
    if planned.workload.pixels:
        return None

    @functools.cache
    def flops(grid: Size) -> float:
        total = 0.0
        for call in (call for calls in planned.workload.updates.values() for call in calls):
            load = Load((grid,) * call.samples, planned.text)
            costs = trunk_costs(planned.networks[call.network], load, call.grad)
            total += call.times * costs.forward + (costs.backward if call.grad != "none" else 0.0)
        return total

    return flops
