"""A plan in words: a table, or a line."""

import math
from collections.abc import Sequence

from seedvr2.models.vae.autoencoder import TIME
from seedvr2.restore.memory import write_memory
from seedvr2.restore.plan.choose import Plan
from seedvr2.restore.plan.prediction import STAGES
from seedvr2.restore.plan.settings import frames_of, overlap_of
from seedvr2.restore.plan.speed import Rates
from seedvr2.restore.progress import clock


def seconds(plan: Plan, rates: Rates) -> dict[str, float]:
    """Time of each stage, of the whole film or, where its length is unknown, of a frame."""
    settings, count = plan.settings, plan.task.film.latents
    overlap = overlap_of(settings.window)
    step = settings.window - overlap
    found = {}
    for stage in STAGES:
        first, later = (rates.seconds(plan.traced.work[stage][i]) for i in (0, -1))
        if stage == "generate":
            window = min(settings.window, count or math.inf)
            # what windows share is generated twice
            shared = 0 if count is None else (math.ceil(max(0, count - settings.window) / step)) * overlap
            if settings.resident is not None:
                later = max(later, plan.streamed / rates.upload)
            found[stage] = later / TIME / step if count is None else later * (count + shared) / window
            continue
        exchange = 2 * plan.traced.history[stage] / rates.upload  # of a history that comes from the host and goes there
        later += exchange * settings.tiling.host
        calls = settings.chunk * TIME
        leading = settings.chunk + (stage == "encode")
        if count is None:
            found[stage] = later / calls + exchange * settings.tiling.parks / TIME / step
        else:
            found[stage] = first + later * math.ceil(max(0, count - leading) / settings.chunk)
            found[stage] += exchange * settings.tiling.parks * count / step
    return found


def table(plan: Plan, tried: Sequence[Plan], rates: Rates) -> list[str]:
    """Lines for people."""
    times = seconds(plan, rates)
    rows = [("weights", sum(plan.weights.values()), None)]
    rows += [(stage, plan.most[stage], times[stage]) for stage in STAGES]
    place = "frames" if plan.task.is_host else "host"
    rows.append((place, plan.host, None))
    lines = [f"{'':10}{'memory':>10}  time"]
    for name, size, time in rows:
        lines.append(f"{name:10}{write_memory(size):>10}" + ("" if time is None else f"  about {_told(time, plan)}"))
    total = f"{write_memory(plan.needed)} of {write_memory(plan.task.budget)} on {plan.task.device}"
    lines.append(f"{'at most':10}{total}, about {_told(sum(times.values()), plan)}")
    lines.append(f"settings: {plan.settings.describe()}")
    lines += [f"because {other.settings.describe()} would take {write_memory(other.needed)}" for other in tried]
    return lines


def line(plan: Plan, rates: Rates) -> str:
    """The same in one line."""
    time = _told(sum(seconds(plan, rates).values()), plan)
    need = f"about {write_memory(plan.needed)} of {plan.task.device} and {time}"
    usual, told = plan.task.given.window, f"plan: {need}; {plan.settings.describe()}"
    if plan.settings.window != usual:
        told += f"; {frames_of(usual)} frames in a window do not fit, so results differ"
    return told


def _told(time: float, plan: Plan) -> str:
    if plan.task.film.frames is None:
        return f"{time:.2g} s a frame"
    return f"{time:.1f} s" if time < 10 else clock(time)
