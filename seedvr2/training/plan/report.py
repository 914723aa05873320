"""The plan of a run as text, and the refusal of what does not fit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from seedvr2.errors import UserError
from seedvr2.parallel.mesh import Parallelism
from seedvr2.training.plan.checks import check_stage
from seedvr2.training.plan.estimate import Estimate, estimate
from seedvr2.training.plan.gpu import Gpu
from seedvr2.training.plan.memory import parameters
from seedvr2.training.plan.outline import Outline, outline
from seedvr2.training.stage import Stage

RECOMPUTE = ("none", "selective", "full")
GB = 1e9


def plan(stages: Sequence[Stage], parallel: Parallelism, gpu: Gpu, *, half: bool = True) -> Iterator[str]:
    """Lines about every stage. Raises UserError for one that cannot work, or (after its numbers) does not fit.

    half: compute in bf16. Nothing is allocated and no process group is needed; the number of ranks is parallel.shard x
    parallel.replicate.
    """
    world = ranks(parallel)
    replicate, shard = parallel.degrees(world)
    yield (
        f"{world} x {gpu.name}: replicate {replicate} x shard {shard}, sequence {parallel.sequence}, "
        f"{world // parallel.sequence} data ranks, recompute {parallel.recompute}, {'bf16' if half else 'fp32'}; "
        f"{gpu.efficiency:.0%} of {gpu.peak:g} TFLOP/s assumed"
    )
    last: list[str] = []
    for stage in stages:
        planned = outline(stage)
        check_stage(planned, parallel, world)
        found = [estimate(planned, shape, parallel, world, gpu, half=half) for shape in planned.shapes]
        largest = max(found, key=lambda one: one.memory.total)
        lines = list(describe(planned, found, largest, gpu))
        yield f"\nstage {stage.name}: {stage.iterations} iterations" + (
            ", as the stage before" if lines == last else ""
        )
        yield from lines if lines != last else ()
        last = lines
        if largest.memory.total > gpu.usable:
            raise UserError(refusal(planned, largest, parallel, world, gpu, half=half))


def ranks(parallel: Parallelism) -> int:
    """The number of ranks that settings speak of; what is null counts as the least that works."""
    shard = parallel.shard or max(1, parallel.sequence // (parallel.replicate or 1))
    return shard * (parallel.replicate or 1)


def describe(planned: Outline, found: Sequence[Estimate], largest: Estimate, gpu: Gpu) -> Iterator[str]:
    """Numbers of one stage."""
    for name, network in planned.networks.items():
        learning = parameters(network, learning=True)
        frozen = not any(name == learner.network for learner in planned.workload.learners)
        note = "frozen" if frozen else f"{learning:,} learn"
        yield f"  {name:<15}{parameters(network):>16,} parameters ({note})"
    if planned.vae is not None:
        yield f"  {'vae':<15}{parameters(planned.vae):>16,} parameters (frozen)"
    for one in found:
        shape = one.shape
        yield (
            f"  {shape.frames} x {shape.height} x {shape.width}: {one.clips} clips, {one.tokens:,} tokens per step, "
            f"{one.memory.total / GB:.1f} GB, {one.total_seconds:.2f} s per iteration"
        )
    memory, shape = largest.memory, largest.shape
    yield (
        f"  memory per GPU at {shape.frames} x {shape.height} x {shape.width} ({memory.when}): "
        f"{memory.total / GB:.1f} of {gpu.usable / GB:.1f} GB"
    )
    yield f"    always: {_sizes(memory.lasting)}"
    for moment, causes in memory.moments.items():
        yield f"    {moment}: {_sizes({cause: size for cause, size in causes.items() if size})}"
    yield f"    activations by recompute: {_sizes(largest.activations)}"
    sent = {
        "all-gather": largest.traffic.gather,
        "reduce-scatter": largest.traffic.scatter,
        "all-reduce": largest.traffic.reduce,
        "all-to-all": largest.traffic.exchange,
    }
    yield f"  sent per GPU and step: {_sizes(sent)}"
    work = ", ".join(f"{name} {value / 1e12:,.1f}" for name, value in largest.flops.items())
    yield f"  TFLOP per GPU and step: {work}"
    yield f"  seconds: {', '.join(f'{name} {value:.2f}' for name, value in largest.seconds.items())}"
    if planned.workload.left_out:
        yield f"  not counted: {', '.join(planned.workload.left_out)}"


def _sizes(causes: Mapping[str, float]) -> str:
    return ", ".join(
        f"{cause} {size / GB:.2f} GB" if size > GB / 100 else f"{cause} {size / 1e6:.2f} MB"
        for cause, size in causes.items()
    )


def refusal(planned: Outline, largest: Estimate, parallel: Parallelism, world: int, gpu: Gpu, *, half: bool) -> str:
    """One sentence: what does not fit, and the nearest settings that do."""
    shape, stage = largest.shape, planned.stage
    size = f"{shape.frames} x {shape.height} x {shape.width}"
    text = (
        f"stage {stage.name} needs {largest.memory.total / GB:.1f} GB for clips of {size} "
        f"({largest.memory.when}), but {gpu.name} has {gpu.usable / GB:.1f} GB: "
    )
    for advice, changed, ranks_then in candidates(planned, parallel, world):
        try:
            check_stage(planned, changed, ranks_then)
            needs = [estimate(planned, one, changed, ranks_then, gpu, half=half) for one in planned.shapes]
        except UserError:
            continue
        most = max(one.memory.total for one in needs)
        if most <= gpu.usable:
            return f"{text}use {advice} ({most / GB:.1f} GB)"
    frames = shape.frames
    while (frames := frames - 4) > 0:
        shorter = replace(shape, frames=frames)
        most = estimate(planned, shorter, parallel, world, gpu, half=half).memory.total
        if most <= gpu.usable:
            return f"{text}use at most {frames} frames ({most / GB:.1f} GB)"
    return f"{text}use smaller clips, a smaller model or a larger GPU"


def candidates(planned: Outline, parallel: Parallelism, world: int) -> Iterator[tuple[str, Parallelism, int]]:
    """Settings that need less memory, the nearest first: (what to change, settings, ranks)."""
    stronger = RECOMPUTE[RECOMPUTE.index(parallel.recompute) + 1 :]
    heads = min(planned.heads.values(), default=1)
    wider = [n for n in range(parallel.sequence + 1, heads + 1) if heads % n == 0]
    for kind in stronger:
        yield f"parallel.recompute={kind}", replace(parallel, recompute=kind), world
    for recompute in (parallel.recompute, *stronger):
        also = f" and parallel.recompute={recompute}" if recompute != parallel.recompute else ""
        for n in wider:
            if world % n == 0:
                yield f"parallel.sequence={n}{also}", replace(parallel, sequence=n, recompute=recompute), world
    replicate, shard = parallel.degrees(world)
    strongest = stronger[-1] if stronger else parallel.recompute
    for factor in (2, 3, 4, 8):
        if replicate % factor == 0:
            mesh = {"replicate": replicate // factor, "shard": shard * factor}
            yield (
                f"parallel.replicate={mesh['replicate']} parallel.shard={mesh['shard']} parallel.recompute={strongest}",
                replace(parallel, recompute=strongest, **mesh),
                world,
            )
    for factor in (2, 4, 8):
        if (ranks_then := world * factor) <= 1024:
            yield (
                f"{ranks_then} GPUs with parallel.shard={shard * factor} parallel.replicate={replicate} "
                f"parallel.sequence={parallel.sequence} parallel.recompute={strongest}",
                replace(parallel, shard=shard * factor, replicate=replicate, recompute=strongest),
                ranks_then,
            )
