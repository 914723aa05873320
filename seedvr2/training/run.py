"""A run: its folder, its settings, and the wish to stop early."""

import contextlib
import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml

from seedvr2.data.memory import keep_freed_memory
from seedvr2.errors import UserError
from seedvr2.io.files import whole


class Run:
    """Settings of a training run.

    dir: its folder. seed: of everything random. weights: what to start from (see `training.catalogue.Catalogue`).
    device: auto, cpu or cuda. precision: fp32 or bf16 (autocast); auto is bf16 on CUDA. threads: CPU threads, null for
    all cores. keep: newest checkpoints of a stage that stay. archive_every: checkpoints of multiples of this step stay
    for ever, 0 for none.
    """

    def __init__(
        self,
        *,
        dir: str,
        seed: int = 0,
        weights: str | dict | None = None,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        keep: int = 2,
        archive_every: int = 0,
    ):
        for name, value, least in (("keep", keep, 1), ("archive_every", archive_every, 0)):
            if not isinstance(value, int) or value < least:
                raise UserError(f"run.{name} is {value!r}: use a whole number of at least {least}")
        self.keep, self.archive_every = keep, archive_every
        if not dir:
            raise UserError("run.dir is empty: give the folder that the run is written to")
        self.folder = Path(dir)
        self.seed, self.weights = seed, weights
        if device not in ("auto", "cpu", "cuda"):
            raise UserError(f"run.device is {device!r}: use auto, cpu or cuda")
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("run.device is 'cuda', but no CUDA device is available: use run.device=cpu")
        self.device = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        if precision not in ("auto", "fp32", "bf16"):
            raise UserError(f"run.precision is {precision!r}: use auto, fp32 or bf16")
        self.half = precision == "bf16" or (precision == "auto" and self.device.type == "cuda")
        self.threads = threads
        self.main = True
        self.config: dict | None = None
        self.interrupted = 0  # the number of the signal that asked for an end

    def start(self, config: dict, *, main: bool = True) -> None:
        """Make the folder (the main process), watch for SIGTERM and SIGINT. config: resolved, for `record`."""
        self.config = config
        if main:
            with self._writing():
                self.folder.mkdir(parents=True, exist_ok=True)
        if self.threads:
            torch.set_num_threads(self.threads)
        if self.device.type == "cpu":
            keep_freed_memory()  # a step frees and takes gigabytes
        # Resuming must be exact: with several threads the gradient of gathering tokens into windows would be summed in
        # any order.
        torch.use_deterministic_algorithms(self.device.type == "cpu", warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        self.main = main
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._interrupt)

    def record(self) -> None:
        """Write config.yaml, when networks and data are there to be trained (the main process); what trained the run
        before stays as config.1.yaml, config.2.yaml, ...
        """
        if self.config is None or not self.main:
            return
        path, text = self.folder / "config.yaml", yaml.safe_dump(self.config, sort_keys=False)
        with self._writing():
            if path.is_file() and path.read_text() != text:
                names = (self.folder / f"config.{number}.yaml" for number in itertools.count(1))
                kept = next(name for name in names if not name.exists())
                print(f"note: the configuration is not the one {path} was started with, kept as {kept.name}")
                path.replace(kept)
            with whole(path) as temporary:
                temporary.write_text(text)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"run.dir {str(self.folder)!r} cannot be written ({error.strerror}): choose another folder"
            ) from error

    def _interrupt(self, number: int, frame) -> None:
        if self.interrupted and number == signal.SIGINT:  # the second time means now
            raise KeyboardInterrupt
        self.interrupted = self.interrupted or number
        if self.main:
            print(f"\n{signal.Signals(number).name}: saving after this step", flush=True)

    def autocast(self) -> torch.autocast:
        """Context of a training step: bf16 where it is wanted."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)
