"""Processes that work for this one: signals to the group of both are not theirs, and they end with their parent."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import parent_process, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.popen_forkserver import Popen


@contextlib.contextmanager
def signals_held(*numbers: signal.Signals) -> Iterator[None]:
    """Processes that start inside this block never hear these signals; this one hears them after it."""
    resource_tracker.ensure_running()  # which would let them through when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ends_with_parent() -> None:
    """End this process when its parent is gone, whatever it does then."""
    # a worker's own parent is the fork server, which lives as long as the worker
    threading.Thread(target=_end_after, args=(parent_process(),), name="parent", daemon=True).start()


def _end_after(parent) -> None:
    parent.join()
    os._exit(1)


class _Popen(Popen):
    def terminate(self) -> None:
        self.kill()


class _Process(ForkServerProcess):
    @staticmethod
    def _Popen(process):
        return _Popen(process)


class ForkServer(ForkServerContext):
    """Forks of a clean process, which can be terminated though they hear no SIGTERM.

    Decoders, OpenMP and CUDA keep threads that a fork of this process would lack; the server has none of them, and
    importing there once makes each worker start fast.
    """

    Process = _Process

    def __init__(self, preload: list[str]):
        super().__init__()
        self.set_forkserver_preload(preload)
