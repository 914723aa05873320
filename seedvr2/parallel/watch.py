"""Ends a run that hangs, and says which rank it waits for."""

import contextlib
import itertools
import json
import os
import socket
import sys
import threading
import time
from typing import NamedTuple

import torch.distributed as dist

from seedvr2.errors import GRACE
from seedvr2.parallel.runtime import Runtime


class Beat(NamedTuple):
    """A sign of life: how many there were, what comes next, when (seconds since the epoch) and where."""

    number: int
    label: str
    at: float
    host: str


class Watch:
    """A thread on every rank that ends the process (exit code 1) when its rank has not beaten for `timeout` seconds.

    Before that, one rank prints who is furthest behind. All ranks must beat the same labels in the same order, as
    they do all else together; work of one rank alone has no beat. A process without peers is not watched. store: where
    beats are exchanged, the process group's by default. The process group's own timeout should be longer, or its error
    comes first.
    """

    def __init__(self, runtime: Runtime, timeout: float, store: dist.Store | None = None):
        self.rank, self.world, self.timeout = runtime.rank, runtime.world, timeout
        self.host = socket.gethostname()
        self._last = Beat(0, "starting", time.time(), self.host)
        self._moved = time.monotonic()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        if self.world > 1:
            # A connection of its own: the main thread may hold the other one in a call that never returns.
            shared = store or dist.distributed_c10d._get_default_store()
            self._store = dist.PrefixStore("watch", shared.clone())
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
            self._thread.start()

    def beat(self, label: str) -> None:
        """Say what this rank does next, such as `stage base step 12: update`. Costs next to nothing."""
        self._last = Beat(self._last.number + 1, label, time.time(), self.host)
        self._moved = time.monotonic()

    def stop(self) -> None:
        """Stop watching; before the process group is left."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        pause = min(self.timeout / 10, 10.0)
        while not self._end.wait(pause):
            with contextlib.suppress(RuntimeError):  # the store went with its owner: the run ends without us
                self._store.set(str(self.rank), json.dumps(self._last))
            if time.monotonic() - self._moved > self.timeout:
                self._give_up()

    def _give_up(self) -> None:
        try:
            first = self._store.add("spoken", 1) == 1
            beats = {rank: self._read(rank) for rank in range(self.world)} if first else {}
        except RuntimeError:
            first, beats = True, {self.rank: self._last}
        if first:
            print(f"seedvr2: {verdict(beats, time.time())}", file=sys.stderr, flush=True)
        else:
            time.sleep(GRACE)
        os._exit(1)  # the main thread cannot be asked

    def _read(self, rank: int) -> Beat | None:
        key = str(rank)
        return Beat(*json.loads(self._store.get(key))) if self._store.check([key]) else None


def verdict(beats: dict[int, Beat | None], now: float) -> str:
    """One line about the ranks that are furthest behind; None: a rank that never beat."""
    numbers = {rank: beat.number if beat else -1 for rank, beat in beats.items()}
    behind = [rank for rank, number in numbers.items() if number == min(numbers.values())]
    waiting = [rank for rank in beats if rank not in behind]
    last = beats[behind[0]]
    hosts = sorted({beats[rank].host for rank in behind if beats[rank]})
    who = listed(behind) + (f" ({', '.join(hosts)})" if hosts else "")
    what = f"{last.label}, for {now - last.at:.0f} s" if last else "it never began"
    line = f"{who} {'hang' if len(behind) > 1 else 'hangs'}: {what}"
    return f"{line}; {listed(waiting)} {'wait' if len(waiting) > 1 else 'waits'} for it" if waiting else line


def listed(ranks: list[int]) -> str:
    """Ascending ranks in words: `ranks 0, 2-5`."""
    runs = [[rank for _, rank in run] for _, run in itertools.groupby(enumerate(ranks), lambda pair: pair[1] - pair[0])]
    parts = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return f"{'ranks' if len(ranks) > 1 else 'rank'} {', '.join(parts)}"
