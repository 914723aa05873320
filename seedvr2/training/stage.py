"""Stages: a name, an objective, its data, and a number of iterations."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from seedvr2.errors import UserError
from seedvr2.flow.timesteps import halvings


@dataclass(frozen=True)
class Stage:
    """One training phase. objective and feed are recipes, built when the stage starts.

    accumulate: micro-batches per step. save_every, preview_every: cadence in steps, 0 for never.
    """

    name: str
    objective: Callable
    feed: Callable
    iterations: int
    accumulate: int = 1
    save_every: int = 500
    preview_every: int = 0

    def __post_init__(self):
        for key, least in {"iterations": 1, "accumulate": 1, "save_every": 0, "preview_every": 0}.items():
            value = getattr(self, key)
            if not isinstance(value, int) or value < least:
                raise UserError(
                    f"stage {self.name!r} needs a whole number of at least {least} for {key}: got {value!r}"
                )
        given = getattr(self.feed, "keywords", {})
        for key, least in {"workers": 0, "pool": 1, "chunk": 1}.items():
            if given.get(key) is not None and given[key] < least:
                raise UserError(f"stage {self.name!r}: feed.{key} is {given[key]}, use at least {least}")


def single(
    *,
    name: str,
    objective: Callable,
    feed: Callable,
    iterations: int,
    accumulate: int = 1,
    save_every: int = 500,
    preview_every: int = 0,
) -> list[Stage]:
    """One stage."""
    return [Stage(name, objective, feed, iterations, accumulate, save_every, preview_every)]


def distillation_chain(
    *,
    name: str,
    objective: Callable,
    feed: Callable,
    from_steps: int,
    to_steps: int,
    iterations: int | Sequence[int],
    stride: int = 2,
    guidance: float = 7.5,
    teacher: Callable | None = None,
    teacher_weights: str = "generator",
    student_weights: str = "generator",
    accumulate: int = 1,
    save_every: int = 500,
    preview_every: int = 0,
) -> list[Stage]:
    """One stage per division of the number of steps, `<name>_64to32` and on; guidance applies to the first only (§4).

    iterations: of every stage, or a list with one number per stage. teacher, teacher_weights: recipe and weights of a
    teacher of another size. student_weights: what the student starts from. All three in the first stage only: later
    ones go on with the one before.
    """
    try:
        pairs = halvings(from_steps, to_steps, stride)
    except ValueError as error:
        raise UserError(f"stage {name!r}: {error}") from error
    counts = list(iterations) if isinstance(iterations, list | tuple) else [iterations] * len(pairs)
    if len(counts) != len(pairs):
        raise UserError(
            f"stage {name!r} lists {len(counts)} iteration counts for {len(pairs)} distillations: give {len(pairs)}"
        )
    first = {
        "guidance": guidance,
        "teacher": teacher,
        "teacher_weights": teacher_weights,
        "student_weights": student_weights,
    }
    if fixed := {"teacher_weights", "student_weights"} & set(getattr(objective, "keywords", ())):
        raise UserError(
            f"stage {name!r} names {min(fixed)} in its objective, which every division would start from: write it "
            "beside the objective, for the first one"
        )
    return [
        Stage(
            f"{name}_{before}to{after}",
            functools.partial(objective, steps=before, stride=stride, **(first if i == 0 else {"guidance": 1.0})),
            feed,
            counts[i],
            accumulate,
            save_every,
            preview_every,
        )
        for i, (before, after) in enumerate(pairs)
    ]
