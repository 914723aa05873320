"""A pool of processes that survives its work: a file that kills or stalls a decoder costs that file, not the run.

`concurrent.futures` gives up all pending work when one process dies and cannot tell which file did it; hence a pipe per
process and one file at a time.
"""

import contextlib
import logging
import math
import multiprocessing
import signal
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, NamedTuple, TypeVar

import cv2

from seedvr2.data.processes import signals_held

Job = TypeVar("Job")
_spawn = multiprocessing.get_context("spawn")  # forked decoders inherit locks of threads that are not there

BEAT = 0.5  # seconds between signs of life


class Outcome(NamedTuple, Generic[Job]):
    """A finished job: its result, or why there is none."""

    job: Job
    result: Any
    failure: str  # empty, crashed or stuck


class _Worker:
    """One process and the job it holds."""

    def __init__(self, function: Callable[..., Any]):
        self.pipe, far = _spawn.Pipe()
        self.process = _spawn.Process(target=_serve, args=(function, far), daemon=True)
        with signals_held(signal.SIGINT):  # their parent ends them
            self.process.start()
        far.close()  # so that the pipe ends when the process does
        self.job: Any = None
        self.is_up = False
        self.since = math.inf  # of the last sign of life; starting up may take long on a busy machine

    def give(self, job: Any) -> None:
        self.job = job
        if self.is_up:
            self.since = time.monotonic()
        with contextlib.suppress(OSError):  # a dead process shows when it is listened to
            self.pipe.send(job)

    def outcome(self, timeout: float) -> Outcome | None:
        """What became of the job; None while it is worked on."""
        while self.pipe.poll():
            try:
                results = self.pipe.recv()
            except (EOFError, OSError):
                if not self.is_up:
                    raise RuntimeError("a worker process ended before its first file") from None
                return Outcome(self.job, None, "crashed")
            self.is_up, self.since = True, time.monotonic()
            if results:
                return Outcome(self.job, results[0], "")
        if time.monotonic() - self.since > timeout:
            return Outcome(self.job, None, "stuck")
        return None

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def run_jobs(
    function: Callable[..., Any], jobs: Iterable[Job], *, workers: int, timeout: float
) -> Iterator[Outcome[Job]]:
    """Yield an outcome per job as they finish; a job is a tuple of arguments, `function` importable by name.

    `function` also gets `beat`, to be called now and then: a job is stuck after `timeout` seconds without. An exception
    counts as a crash: failures must be returned.
    """
    jobs = iter(jobs)
    pool: list[_Worker] = []
    try:
        for job in islice(jobs, workers):
            pool.append(_Worker(function))
            pool[-1].give(job)
        while pool:
            wait([worker.pipe for worker in pool], timeout=1.0)
            for worker in list(pool):
                outcome = worker.outcome(timeout)
                if outcome is None:
                    continue
                job = next(jobs, None)
                if outcome.failure or job is None:
                    worker.stop()
                    pool.remove(worker)
                if job is not None:
                    if outcome.failure:
                        worker = _Worker(function)
                        pool.append(worker)
                    worker.give(job)
                yield outcome
    finally:
        for worker in pool:
            worker.stop()


def _serve(function: Callable[..., Any], pipe: Connection) -> None:
    logging.getLogger("seedvr2").setLevel(logging.ERROR)  # what is wrong with a file is part of the result,
    warnings.simplefilter("ignore")  # also for Pillow
    cv2.setNumThreads(1)
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last >= BEAT:
            last = time.monotonic()
            pipe.send(())

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        pipe.send(())
        while True:
            job = pipe.recv()
            pipe.send((function(*job, beat=beat),))
