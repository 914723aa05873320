"""Metrics: flat records to sinks. `metrics.jsonl` is always written; console, TensorBoard and wandb as configured."""

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from seedvr2.errors import UserError
from seedvr2.training.files import whole

Record = dict[str, float | int | str]


class Sink(Protocol):
    """Somewhere that records go."""

    def log(self, record: Record, total: int) -> None:
        """Take one record; total: iterations of the stage."""


class JsonLines:
    """One JSON object per line."""

    def __init__(self, path: Path):
        self.path = path

    def log(self, record: Record, total: int) -> None:
        """Append the record; a number that is not finite becomes null, which other JSON readers know."""
        bad = {key: None for key, value in record.items() if isinstance(value, float) and not math.isfinite(value)}
        with self.path.open("a") as file:
            file.write(json.dumps({**record, **bad}) + "\n")

    def rewind(self, stage: str, step: int) -> None:
        """Drop what a stage recorded after a step, and a line cut off by a crash: those steps will run again."""
        if not self.path.is_file():
            return
        kept = []
        for line in self.path.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if record["stage"] != stage or record["step"] <= step:
                kept.append(line + "\n")
        with whole(self.path) as temporary:
            temporary.write_text("".join(kept))


class Console:
    """One line per record with rate and remaining time; on a terminal the line is rewritten in place."""

    def __init__(self):
        self.started: tuple[str, int, float] | None = None

    def log(self, record: Record, total: int) -> None:
        """Print the record."""
        stage, step = record["stage"], record["step"]
        if self.started is None or self.started[0] != stage:
            self.started = stage, step, time.monotonic()
        rate = (step - self.started[1]) / max(1e-9, time.monotonic() - self.started[2])
        remaining = str(timedelta(seconds=round((total - step) / rate))) if rate else "?"
        values = "  ".join(
            f"{key.removeprefix(f'{stage}/')} {value:.4g}"
            for key, value in record.items()
            if key.startswith(f"{stage}/")
        )
        line = f"[{stage}] {step}/{total}  {values}  {rate:.2f} it/s  ETA {remaining}"
        if sys.stdout.isatty():
            print(f"\r\033[K{line}", end="\n" if step == total else "", flush=True)
        else:
            print(line, flush=True)


class TensorBoard:
    """TensorBoard event files in `run.dir/tensorboard` (needs `pip install 'seedvr2[track]'`)."""

    def __init__(self, folder: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter  # optional
        except ImportError as error:
            raise UserError("track=tensorboard needs the package tensorboard: pip install 'seedvr2[track]'") from error
        self.writer = SummaryWriter(folder / "tensorboard")

    def log(self, record: Record, total: int) -> None:
        """Write every number under its path."""
        for key, value in record.items():
            if "/" in key:
                self.writer.add_scalar(key, value, record["step"])


class Wandb:
    """Weights & Biases (needs `pip install 'seedvr2[track]'`)."""

    def __init__(self, folder: Path, *, project: str, mode: str | None = None):
        try:
            import wandb  # optional and heavy
        except ImportError as error:
            raise UserError("track=wandb needs the package wandb: pip install 'seedvr2[track]'") from error
        self.run = wandb.init(project=project, dir=folder, mode=mode, name=folder.name, resume="allow", id=folder.name)

    def log(self, record: Record, total: int) -> None:
        """Send every number; each stage counts its own steps."""
        stage = record["stage"]
        self.run.log({f"{stage}/step": record["step"], **{k: v for k, v in record.items() if "/" in k}})


class Tracker:
    """Turns metrics into records. every: steps between records of one stage.

    main: whether this rank writes. average: mean of a tensor over all ranks; every rank calls `log`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        every: int = 10,
        sinks: Sequence = (),
        main: bool = True,
        average: Callable[[Tensor], Tensor] = lambda values: values,
    ):
        if every < 1:
            raise UserError(f"track.every is {every}: use 1 to record every step, or more")
        self.every = every
        self.lines = JsonLines(folder / "metrics.jsonl")
        self.main, self.average = main, average
        built = (sink(folder) if callable(sink) else sink for sink in sinks) if main else ()
        self.sinks: list[Sink] = [self.lines, *built] if main else []

    def due(self, step: int, total: int) -> bool:
        """Whether step number `step` (from 1) is to be recorded."""
        return step % self.every == 0 or step in (1, total)

    def log(self, stage: str, step: int, total: int, metrics: Mapping[str, Tensor | float]) -> None:
        """Write one record `{stage, step, time, <stage>/<name>: number}`."""
        numbers = self.average(torch.tensor([float(value) for value in metrics.values()], dtype=torch.float64))
        metrics = dict(zip(metrics, numbers.tolist(), strict=True))
        values = {f"{stage}/{name}": value for name, value in metrics.items()}
        record = {"stage": stage, "step": step, "time": round(time.time(), 3), **values}
        for sink in self.sinks:
            sink.log(record, total)

