"""What a film will take with what a user asks for, foretold without loading any weights, and the settings that fit."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from seedvr2.models.storage import FULL
from seedvr2.restore.device import DTYPES
from seedvr2.restore.loading import IDENTITY, Choice, decide
from seedvr2.restore.memory import free_memory, parse_memory
from seedvr2.restore.models import ModelFiles
from seedvr2.restore.plan.choose import SHARE, Plan, Task, choose
from seedvr2.restore.plan.networks import Outline, outline_model
from seedvr2.restore.plan.prediction import Film
from seedvr2.restore.plan.report import line, seconds, table
from seedvr2.restore.plan.settings import Settings
from seedvr2.restore.plan.speed import Rates, measure


class Foresight(NamedTuple):
    """A plan, the ones that did not fit, and what the device computes per second."""

    plan: Plan
    tried: Sequence[Plan]
    rates: Rates

    def table(self) -> list[str]:
        """It in lines."""
        return table(self.plan, self.tried, self.rates)

    def facts(self) -> dict:
        """It as numbers: bytes and seconds, JSON-able."""
        plan = self.plan
        return {
            "bytes": {"weights": dict(plan.weights), "stages": dict(plan.most), "host": plan.host, "most": plan.needed},
            "seconds": seconds(plan, self.rates),
            "settings": plan.settings.facts(),
        }

    def line(self) -> str:
        """It in one line."""
        return line(self.plan, self.rates)


def plan_film(choice: Choice, film: Film, unfinished: Mapping | None = None) -> Foresight | None:
    """The plan for a film, None for the identity, which needs none.

    unfinished: facts of the model of an unfinished run, whose results depend on its window. Raises UserError for what
    does not exist or fit.
    """
    if choice.model == IDENTITY:
        return None
    files, device, dtype, _, window, *_ = decided = decide(choice)
    if choice.window is None and unfinished is not None:
        window = unfinished.get("window", window)
    kind = DTYPES[dtype]
    task = Task(
        networks=_outlined(files, kind, choice.weights),
        film=film,
        device=device,
        dtype=kind,
        sampling=decided.sampling,
        given=Settings(window, resident=choice.offload),
        is_fixed=choice.window is not None or unfinished is not None,
        budget=SHARE * _free(device) if choice.max_memory is None else parse_memory(choice.max_memory),
    )
    plan, tried = choose(task)
    return Foresight(plan, tried, measure(device, kind, plan.traced.layers))


# of several films all have the same networks, and the memory that was free before the first one was loaded
@functools.lru_cache(maxsize=1)
def _outlined(files: ModelFiles, dtype: torch.dtype, weights: str) -> Outline:
    return outline_model(files, dtype=dtype, weights=weights)


@functools.lru_cache
def _free(device: torch.device) -> float:
    return free_memory(device)
