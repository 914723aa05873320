"""How one of several processes ends when it is told to: once, soon, and also inside a call that never returns."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

import torch.distributed as dist

TOLD = (signal.SIGINT, signal.SIGTERM)
GRACE = 5.0  # seconds to clean up after a signal


@contextlib.contextmanager
def ends_when_told(grace: float = GRACE) -> Iterator[None]:
    """SIGINT interrupts the block, once: a terminal and a launcher both send it. A block of the main thread.

    What still runs `grace` seconds after SIGINT or SIGTERM ends there and then, because Python hears a signal only
    between two steps of its own, and an exchange with a process that is gone may take for ever.
    """
    hears, tells = os.pipe()
    os.set_blocking(tells, False)
    over = threading.Event()

    def watch() -> None:
        while number := os.read(hears, 1):
            if number[0] in TOLD:
                if not over.wait(grace):
                    os._exit(128 + number[0])
                return

    def interrupt(number: int, _frame: object) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGINT, interrupt)
    before = signal.set_wakeup_fd(tells, warn_on_full_buffer=False)
    thread = threading.Thread(target=watch, name="ending", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGINT, handler)
        over.set()
        os.close(tells)
        thread.join()
        os.close(hears)


@contextlib.contextmanager
def dies_when_told() -> Iterator[None]:
    """SIGINT and SIGTERM end the process in the block at once and without a word: it has nothing to lose."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in TOLD}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ends_at_once() -> Iterator[None]:
    """End the process there and then when an exception leaves the block while a process group made in it stands.

    The exception is told, and the exit code is the usual one. The usual end of a process may never come: the group's
    destructor, or a thread in an exchange, may wait for peers that wait for this process.
    """
    is_older = dist.is_initialized()
    try:
        yield
    except BaseException as error:
        if is_older or not dist.is_initialized():
            raise
        code = _told(error)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                stream.flush()
        os._exit(code)


def _told(error: BaseException) -> int:
    """Exit code of an exception, which is printed as the interpreter would."""
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        return error.code or 0
    sys.excepthook(type(error), error, error.__traceback__)
    return 1
