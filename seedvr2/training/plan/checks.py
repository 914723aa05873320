"""What cannot work with a number of ranks, found before anything starts."""

from collections.abc import Sequence

from seedvr2.errors import UserError
from seedvr2.parallel.mesh import Parallelism
from seedvr2.training.plan.outline import Outline, describes_itself, outline
from seedvr2.training.stage import Stage


def check(stages: Sequence[Stage], parallel: Parallelism, world: int) -> None:
    """Raise UserError for stages that `world` ranks cannot train; builds networks on the meta device only.

    Objectives without a `workload` are left to themselves.
    """
    parallel.degrees(world)
    for stage in filter(describes_itself, stages):
        check_stage(outline(stage), parallel, world)


def check_stage(planned: Outline, parallel: Parallelism, world: int) -> None:
    """The same for one stage."""
    stage, n = planned.stage, parallel.sequence
    for name, heads in planned.heads.items():
        if heads % n:
            fitting = [k for k in range(1, heads + 1) if heads % k == 0 and world % k == 0]
            raise UserError(
                f"parallel.sequence is {n}, which does not divide the {heads} heads of the {name} of stage "
                f"{stage.name}: use one of {fitting}"
            )
    share = world // n * stage.accumulate
    for shape in planned.shapes:
        size = f"{shape.frames} x {shape.height} x {shape.width} in stage {stage.name}"
        if shape.frames % 4 != 1:
            below = max(1, shape.frames - (shape.frames - 1) % 4)
            raise UserError(f"clips of {size} have not 4k + 1 frames: use {below} or {below + 4}")
        side = 16 if planned.heads else 8
        for edge in (shape.height, shape.width):
            if edge % side or edge < side:
                raise UserError(f"clips of {size} have sides that are not multiples of {side}: use {_near(edge, side)}")
        if shape.batch % share:
            raise UserError(
                f"a batch of {shape.batch} clips of {size} cannot be shared by {world // n} data ranks with "
                f"{stage.accumulate} micro-batches each: use {_near(shape.batch, share)} clips, another "
                "stage accumulate, or more parallel.sequence"
            )


def _near(number: int, multiple: int) -> int:
    return max(multiple, round(number / multiple) * multiple)
