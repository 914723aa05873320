"""Batches of samples by step, in this process or in workers, with the same result.

A sample's key is (seed, stage, step, position in the global batch). Ranks only differ in the positions they ask for,
so the data of a step depend neither on the number of ranks nor on that of workers, and resuming needs the step alone.
"""

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from seedvr2.data.memory import keep_freed_memory
from seedvr2.data.pairs import Pair, Pairs
from seedvr2.data.processes import ForkServer, ends_with_parent, signals_held
from seedvr2.data.shapes import Shape
from seedvr2.errors import UserError

GRACE = 1000  # samples
PRELOADED = ["seedvr2.data.loader", "seedvr2.data.folder", "seedvr2.data.indexed"]
Positions = Sequence[int] | Callable[[Shape], Sequence[int]]


class Request(NamedTuple):
    """One sample that a step asks for."""

    step: int
    position: int
    shape: Shape


class Drawn(NamedTuple):
    """A sample, and how many files were passed over to get it; a `UserError`, so that it crosses processes whole."""

    sample: object
    failures: int


class Samples(Dataset):
    """What `draw`, which draws from `pairs`, makes of a request."""

    def __init__(self, draw: Callable[[object], object], pairs: Pairs):
        self.draw, self.pairs = draw, pairs

    def __getitem__(self, request: object) -> Drawn:
        before = self.pairs.failures
        try:
            sample = self.draw(request)
        except UserError as error:
            sample = error
        return Drawn(sample, self.pairs.failures - before)


class StageSamples:
    """The samples of one stage, by request."""

    def __init__(self, pairs: Pairs, *, seed: int, stage: str, clean_only: bool):
        self.pairs, self.seed, self.stage, self.clean_only = pairs, seed, stage, clean_only

    def draw(self, request: Request) -> Pair:
        """The pair of a request."""
        key = (self.seed, self.stage, request.step, request.position)
        if self.clean_only:
            clean = self.pairs.hq(key, request.shape)
            return Pair(clean, clean[:0])
        return self.pairs.draw(key, request.shape)


class Failures:
    """Files that could not be read, against the samples drawn; a share above `limit` of them is too much.

    The first `GRACE` samples count as if all of them had been drawn.
    """

    def __init__(self, limit: float):
        if not 0 <= limit <= 1:
            raise UserError(f"failures is {limit}; give the share of unreadable files that is allowed, 0 to 1")
        self.limit = limit
        self.drawn = self.count = 0

    def add(self, failures: int) -> None:
        """One more sample. Raises UserError if more files failed than the limit allows."""
        self.drawn += 1
        self.count += failures
        if self.count > self.limit * max(self.drawn, GRACE):
            raise UserError(
                f"{self.count} files could not be read for {self.drawn} samples, more than {self.limit:.0%}: index the "
                "data again, remove what is damaged (warnings name it), or allow more by the feed's `failures`"
            )


class Requests:
    """The requests of steps start … stop-1, one list per step; picklable and endless to repeat."""

    def __init__(self, pairs: Pairs, *, seed: int, stage: str, start: int, stop: int, positions: Positions):
        self.pairs, self.seed, self.stage, self.positions = pairs, seed, stage, positions
        self.start, self.stop = start, stop

    def __len__(self) -> int:
        return max(self.stop - self.start, 0)

    def __iter__(self) -> Iterator[list[Request]]:
        for step in range(self.start, self.stop):
            shape = self.pairs.shape_of(self.seed, self.stage, step)
            chosen = self.positions(shape) if callable(self.positions) else self.positions
            yield [Request(step, position, shape) for position in chosen]


def batches(
    pairs: Pairs,
    *,
    seed: int,
    stage: str,
    start: int,
    stop: int,
    positions: Positions,
    workers: int = 0,
    clean_only: bool = False,
    failures: Failures | None = None,
) -> Iterator[tuple[int, list[Pair]]]:
    """Yield (step, its samples in the order of `positions`) for steps start … stop-1.

    `positions` are this rank's places in the global batch, or a function from the step's `Shape` (whose `batch` is the
    global batch) to them. `workers` processes draw ahead, a step each; 0 draws here. With `clean_only` the degradation
    is left out and `Pair.lq` is empty (0,3,H,W). `failures` counts the files that were passed over. Raises the
    `UserError` of a sample that cannot be drawn.
    """
    chosen = StageSamples(pairs, seed=seed, stage=stage, clean_only=clean_only)
    requests = Requests(pairs, seed=seed, stage=stage, start=start, stop=stop, positions=positions)
    drawn = lists_of_samples(chosen.draw, requests, pairs=pairs, workers=workers, failures=failures)
    yield from zip(range(start, stop), drawn, strict=True)


def lists_of_samples(
    draw: Callable[[object], object],
    requests: Iterable[list],
    *,
    pairs: Pairs,
    workers: int = 0,
    failures: Failures | None = None,
) -> Iterator[list]:
    """What `draw`, which draws from `pairs`, makes of each list of requests, in order; see `batches`."""
    samples = Samples(draw, pairs)
    if workers:
        loader = DataLoader(
            samples,
            batch_sampler=requests,
            num_workers=workers,
            prefetch_factor=1,  # lists of clips of 720p are gigabytes
            collate_fn=list,
            worker_init_fn=_start_worker,
            multiprocessing_context=ForkServer(PRELOADED),
        )
        # a launcher signals the whole group of a rank, whose running step still needs its data
        with signals_held(signal.SIGTERM, signal.SIGINT):
            drawn = iter(loader)
    else:
        drawn = ([samples[request] for request in some] for some in requests)
    for found in drawn:
        for sample, count in found:
            if failures is not None:
                failures.add(count)
            if isinstance(sample, UserError):
                raise sample
        yield [sample for sample, _ in found]


def _start_worker(_number: int) -> None:
    ends_with_parent()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()
