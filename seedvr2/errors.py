"""How a command ends badly: a user's mistake is one sentence and exit code 2, a bug is a traceback."""

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn


class UserError(ValueError):
    """A mistake the user can repair; the message is one sentence with the offending value and the fix."""


class Parser(argparse.ArgumentParser):
    """A parser of a command line whose complaints are one sentence, like every other mistake of the user."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


@contextlib.contextmanager
def main_guard(program: str) -> Iterator[None]:
    """Turn a `UserError` inside a command into `program: sentence` on stderr and exit code 2, an interrupt into 130."""
    try:
        yield
    except UserError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(130)


@contextlib.contextmanager
def orderly_termination() -> Iterator[None]:
    """Let SIGTERM end the block like an exception, with exit code 143, so that unfinished files are removed."""
    if threading.current_thread() is not threading.main_thread():  # signals belong to the main thread
        yield
        return

    def stop(number: int, _frame: object) -> NoReturn:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
