"""Where records of metrics go: lines of JSON, the console, TensorBoard, Weights & Biases."""

import json
import math
import secrets
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import numpy as np

from seedvr2.errors import UserError
from seedvr2.io.files import disk_errors, whole

Record = Mapping[str, float | int | str]
QUIET = ("speed", "memory", "data")  # groups that the console, which has a rate of its own, leaves out
MODES = (None, "online", "offline", "disabled")


class Sink(Protocol):
    """Somewhere that records go. It may also have `show(stage, step, picture)` and `close()`."""

    def log(self, record: Record, total: int) -> None:
        """Take one record; total: iterations of the stage."""


class JsonLines:
    """One JSON object per line."""

    def __init__(self, path: Path):
        self.path = path

    def log(self, record: Record, total: int) -> None:
        """Append the record; a number that is not finite becomes null, which other JSON readers know."""
        bad = {key: None for key, value in record.items() if isinstance(value, float) and not math.isfinite(value)}
        with disk_errors(self.path), self.path.open("a") as file:
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
        shown = {key.removeprefix(f"{stage}/"): value for key, value in record.items() if key.startswith(f"{stage}/")}
        values = "  ".join(f"{name} {value:.4g}" for name, value in shown.items() if name.split("/")[0] not in QUIET)
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

    def show(self, stage: str, step: int, picture: np.ndarray) -> None:
        """Write a picture, uint8 (H, W, 3)."""
        self.writer.add_image(f"{stage}/validation", picture, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is still waiting."""
        self.writer.close()


class Wandb:
    """Weights & Biases (needs `pip install 'seedvr2[track]'`).

    mode: online, offline (files below `run.dir/wandb`, sent later by `wandb sync`), or null for what the variable
    WANDB_MODE says. The run's identity is kept in `run.dir/wandb.id`: continuing the run continues its curves. Raises
    UserError for another mode, or if wandb cannot start.
    """

    def __init__(self, folder: Path, *, project: str, mode: str | None = None):
        if mode not in MODES:
            raise UserError(f"the wandb mode is {mode!r}: use online, offline, disabled or null")
        try:
            import wandb  # optional and heavy
        except ImportError as error:
            raise UserError("track=wandb needs the package wandb: pip install 'seedvr2[track]'") from error
        self.image, self.stages = wandb.Image, set()
        settings = {"project": project, "dir": folder, "mode": mode, "name": folder.name}
        try:
            self.run = wandb.init(**settings, id=identity(folder / "wandb.id"), resume="allow")
        except wandb.errors.Error as error:
            raise UserError(f"wandb cannot start ({error}): run `wandb login`, or use track=wandb_offline") from error

    def log(self, record: Record, total: int) -> None:
        """Send every number; each stage counts its own steps."""
        self._send(record["stage"], record["step"], {key: value for key, value in record.items() if "/" in key})

    def show(self, stage: str, step: int, picture: np.ndarray) -> None:
        """Send a picture, uint8 (H, W, 3)."""
        self._send(stage, step, {f"{stage}/validation": self.image(picture)})

    def close(self) -> None:
        """Send what is still waiting."""
        self.run.finish()

    def _send(self, stage: str, step: int, values: dict) -> None:
        if stage not in self.stages:
            self.run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
            self.stages.add(stage)
        self.run.log({f"{stage}/step": step, **values})


def identity(path: Path) -> str:
    """The random name that a file holds; the first call makes it."""
    if not path.is_file():
        with whole(path) as temporary:
            temporary.write_text(secrets.token_hex(4))
    return path.read_text()
