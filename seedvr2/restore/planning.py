"""What a film will take with what a user asks for, foretold without loading any weights, and the settings that fit."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch

from seedvr2.restore.device import DTYPES
from seedvr2.restore.generation import Guidance
from seedvr2.restore.loading import IDENTITY, Choice, Decided, decide
from seedvr2.restore.memory import free_memory, parse_memory
from seedvr2.restore.plan.choose import SHARE, Plan, Task, choose
from seedvr2.restore.plan.networks import Outline, outline_model
from seedvr2.restore.plan.prediction import Film
from seedvr2.restore.plan.report import line, seconds, table
from seedvr2.restore.plan.settings import Settings
from seedvr2.restore.plan.speed import Rates, measure


class Foresight(NamedTuple):
    """A plan of a model by its name, the ones that did not fit, and what the device computes per second."""

    model: str
    plan: Plan
    tried: Sequence[Plan]
    rates: Rates

    def table(self) -> list[str]:
        """It in lines."""
        film, dtype = self.plan.task.film, str(self.plan.task.dtype).removeprefix("torch.")
        return [f"{self.model} in {dtype}, {film.source} to {film.size}", *table(self.plan, self.tried, self.rates)]

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


def check_request(choice: Choice, most: str | None) -> None:
    """Raise UserError for what cannot be, whatever the film; arguments as for `task_of`."""
    if most is not None:
        parse_memory(most)
    if choice.model != IDENTITY:
        decide(choice)


@functools.lru_cache  # a plan takes a second, and pictures of a folder mostly have one size
def plan_film(choice: Choice, film: Film, **how: str | int | bool | None) -> Foresight | None:
    """The plan for a film, None for the identity, which needs none; arguments and errors as for `task_of`."""
    if choice.model == IDENTITY:
        return None
    task = task_of(choice, film, **how)
    plan, tried = choose(task)
    return Foresight(_outlined(choice)[0].files.name, plan, tried, measure(task.device, task.dtype, plan.traced.layers))


def task_of(
    choice: Choice,
    film: Film,
    *,
    most: str | None = None,
    unfinished: int | None = None,
    ranks: int = 1,
    is_split: bool = False,
) -> Task:
    """What is to be planned.

    most: memory of the device that may be used, "24GB" for instance. unfinished: window of an unfinished run in latent
    frames, which its results depend on. ranks: processes beside each other, which share the memory of a host; is_split:
    whether they share the film too. Raises UserError for what does not exist or fit.
    """
    decided, networks = _outlined(choice)
    files, device, window = decided.files, decided.device, decided.window
    if choice.window is None and unfinished is not None:
        window = unfinished
    free = _free(device) / (ranks if device.type == "cpu" else 1)
    guidance = None if decided.cfg == 1 else Guidance(networks.prompt, decided.cfg, decided.cfg_rescale)
    return Task(
        networks=networks,
        film=film,
        device=device,
        dtype=DTYPES[decided.dtype],
        sampling={"steps": decided.steps, "guidance": guidance, "condition_noise": files.condition_noise},
        given=Settings(window, resident=choice.offload),
        is_fixed=choice.window is not None or unfinished is not None,
        budget=SHARE * free if most is None else parse_memory(most),
        is_split=is_split,
        host_budget=SHARE * _free(torch.device("cpu")) / ranks,
    )


@functools.lru_cache(maxsize=1)  # half of what a plan takes
def _outlined(choice: Choice) -> tuple[Decided, Outline]:
    decided = decide(choice)
    dtype = DTYPES[decided.dtype]
    return decided, outline_model(decided.files, dtype=dtype, weights=choice.weights, vae=choice.vae)


@functools.lru_cache  # what counts is the memory before the first of several films loaded the model
def _free(device: torch.device) -> float:
    return free_memory(device)
