"""Batches of samples by step, in this process or in workers, with the same result.

A sample's key is (seed, stage, step, position in the global batch). Ranks only differ in the positions they ask for,
so the data of a step depend neither on the number of ranks nor on that of workers, and resuming needs the step alone.
"""

from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from typing import NamedTuple

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from seedvr2.data.pairs import Pair, Pairs, Shape
from seedvr2.errors import UserError

Positions = Sequence[int] | Callable[[Shape], Sequence[int]]


class Request(NamedTuple):
    """One sample that a step asks for."""

    step: int
    position: int
    shape: Shape


class Samples(Dataset):
    """The samples of one stage, by request; a `UserError` is returned so that it crosses the process border whole."""

    def __init__(self, pairs: Pairs, *, seed: int, stage: str, clean_only: bool):
        self.pairs, self.seed, self.stage, self.clean_only = pairs, seed, stage, clean_only

    def __getitem__(self, request: Request) -> Pair | UserError:
        key = (self.seed, self.stage, request.step, request.position)
        try:
            if self.clean_only:
                clean = self.pairs.hq(key, request.shape)
                return Pair(clean, clean[:0])
            return self.pairs.draw(key, request.shape)
        except UserError as error:
            return error


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
) -> Iterator[tuple[int, list[Pair]]]:
    """Yield (step, its samples in the order of `positions`) for steps start … stop-1.

    `positions` are this rank's places in the global batch, or a function from the step's `Shape` (whose `batch` is the
    global batch) to them. `workers` processes draw ahead; 0 draws here. With `clean_only` the degradation is left out
    and `Pair.lq` is empty (0,3,H,W). Raises the `UserError` of a sample that cannot be drawn.
    """
    samples = Samples(pairs, seed=seed, stage=stage, clean_only=clean_only)
    requests = Requests(pairs, seed=seed, stage=stage, start=start, stop=stop, positions=positions)
    if workers:
        drawn = DataLoader(
            samples,
            batch_sampler=requests,
            num_workers=workers,
            collate_fn=list,
            worker_init_fn=_single_thread,
            multiprocessing_context=_clean_forks(),
        )
    else:
        drawn = ([samples[request] for request in step] for step in requests)
    for step, found in zip(range(start, stop), drawn, strict=True):
        for sample in found:
            if isinstance(sample, UserError):
                raise sample
        yield step, found


def _clean_forks() -> BaseContext:
    # Decoders, OpenMP and CUDA keep threads that a fork of this process would lack; the server has none of them, and
    # importing there once makes each worker start fast.
    context = get_context("forkserver")
    context.set_forkserver_preload(["seedvr2.data.loader", "seedvr2.data.folder"])
    return context


def _single_thread(_worker: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
