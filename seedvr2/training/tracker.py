"""Metrics: flat records to sinks. `metrics.jsonl` and `speed.jsonl` are always written; others as configured."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seedvr2.errors import UserError
from seedvr2.training.sinks import JsonLines, Sink


class Tracker:
    """Turns metrics into records `{stage, step, time, <stage>/<name>: number}`.

    every: steps between records of one stage. terms_every: steps between measurements of what each generator term
    pulls with (see `AdversarialPostTraining.diagnose`), 0 for never. peak: dense TFLOP/s of one device that the share
    `speed/mfu` refers to; null: measured on CUDA, and no such share elsewhere. sinks: further places, made from the
    run's folder. main: whether this rank writes. average: mean of a tensor over all ranks; every rank calls `log`.

    What is learned goes to `metrics.jsonl`, which is a function of the configuration apart from `time`; how fast it was
    goes to `speed.jsonl`; other sinks get both. Raises UserError for values that make no sense.
    """

    def __init__(
        self,
        folder: Path,
        *,
        every: int = 10,
        terms_every: int = 100,
        peak: float | None = None,
        sinks: Sequence = (),
        main: bool = True,
        average: Callable[[Tensor], Tensor] = lambda values: values,
    ):
        if every < 1:
            raise UserError(f"track.every is {every}: use 1 to record every step, or more")
        if terms_every < 0:
            raise UserError(f"track.terms_every is {terms_every}: use 0 for never, or more")
        if peak is not None and peak <= 0:
            raise UserError(f"track.peak is {peak}: use TFLOP/s above 0, or null")
        self.every, self.terms_every, self.peak = every, terms_every, peak
        self.lines, self.speed = JsonLines(folder / "metrics.jsonl"), JsonLines(folder / "speed.jsonl")
        self.main, self.average = main, average
        self.sinks: list[Sink] = [sink(folder) if callable(sink) else sink for sink in sinks] if main else []

    def due(self, step: int, total: int) -> bool:
        """Whether step number `step` (from 1) is to be recorded."""
        return step % self.every == 0 or step in (1, total)

    def terms_due(self, step: int) -> bool:
        """Whether the generator terms are to be measured after this step."""
        return self.terms_every > 0 and step % self.terms_every == 0

    def log(
        self,
        stage: str,
        step: int,
        total: int,
        metrics: Mapping[str, Tensor | float],
        speed: Mapping[str, float] | None = None,
    ) -> None:
        """Record metrics, and how fast they came, under the stage's name; one exchange averages all of them."""
        everything = {**metrics, **(speed or {})}
        numbers = self.average(torch.tensor([float(value) for value in everything.values()], dtype=torch.float64))
        if not self.main:
            return
        values = {f"{stage}/{name}": value for name, value in zip(everything, numbers.tolist(), strict=True)}
        when = {"stage": stage, "step": step, "time": round(time.time(), 3)}
        self.lines.log({**when, **{key: values[key] for key in (f"{stage}/{name}" for name in metrics)}}, total)
        if speed:
            self.speed.log({**when, **{key: values[key] for key in (f"{stage}/{name}" for name in speed)}}, total)
        for sink in self.sinks:
            sink.log({**when, **values}, total)

    def show(self, stage: str, step: int, picture: np.ndarray) -> None:
        """Hand a picture, uint8 (H, W, 3), to the sinks that show pictures."""
        for sink in self.sinks:
            if show := getattr(sink, "show", None):
                show(stage, step, picture)

    def rewind(self, stage: str, step: int) -> None:
        """Drop what a stage recorded after a step; for the rank that writes."""
        for lines in (self.lines, self.speed) if self.main else ():
            lines.rewind(stage, step)

    def close(self) -> None:
        """Let sinks write what is still waiting."""
        for sink in self.sinks:
            if close := getattr(sink, "close", None):
                close()
