"""What a film will take with what a user asks for, foretold without loading any weights, and the settings that fit."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from seedvr2.restore.device import DTYPES
from seedvr2.restore.generation import Guidance
from seedvr2.restore.loading import IDENTITY, Choice, decide
from seedvr2.restore.memory import free_memory, parse_memory
from seedvr2.restore.plan.choose import SHARE, Plan, Task, choose
from seedvr2.restore.plan.networks import outline_model
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


def plan_film(
    choice: Choice, film: Film, *, most: str | None = None, unfinished: Mapping | None = None, ranks: int = 1
) -> Foresight | None:
    """The plan for a film, None for the identity, which needs none.

    most: memory of the device that may be used, "24GB" for instance. unfinished: facts of the model of an unfinished
    run, whose results depend on its window. ranks: processes beside each other, which share the memory of a host.
    Raises UserError for what does not exist or fit.
    """
    if choice.model == IDENTITY:
        return None
    task = task_of(choice, film, most=most, unfinished=unfinished, ranks=ranks)
    plan, tried = choose(task)
    return Foresight(plan, tried, measure(task.device, task.dtype, plan.traced.layers))


def task_of(
    choice: Choice, film: Film, *, most: str | None = None, unfinished: Mapping | None = None, ranks: int = 1
) -> Task:
    """What is to be planned; arguments as for `plan_film`."""
    decided = decide(choice)
    files, device, window = decided.files, decided.device, decided.window
    if choice.window is None and unfinished is not None:
        window = unfinished.get("window", window)
    dtype = DTYPES[decided.dtype]
    free = _free(device) / (ranks if device.type == "cpu" else 1)
    networks = outline_model(files, dtype=dtype, weights=choice.weights, vae=choice.vae)
    guidance = None if decided.cfg == 1 else Guidance(networks.prompt, decided.cfg, decided.cfg_rescale)
    return Task(
        networks=networks,
        film=film,
        device=device,
        dtype=dtype,
        sampling={"steps": decided.steps, "guidance": guidance, "condition_noise": files.condition_noise},
        given=Settings(window, resident=choice.offload),
        is_fixed=choice.window is not None or unfinished is not None,
        budget=SHARE * free if most is None else parse_memory(most),
    )


@functools.lru_cache  # what counts is the memory before the first of several films loaded the model
def _free(device: torch.device) -> float:
    return free_memory(device)
