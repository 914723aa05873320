"""How a command ends badly: a user's mistake is one sentence and exit code 2, a bug is a traceback."""

import argparse
import contextlib
import errno
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

GRACE = 2.0  # seconds that processes stay, so that the one that speaks is heard before the launcher ends it


class UserError(ValueError):
    """A mistake the user can repair; the message is one sentence with the offending value and the fix."""


class Parser(argparse.ArgumentParser):
    """A parser of a command line whose complaints are one sentence, like every other mistake of the user."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


@contextlib.contextmanager
def main_guard(program: str, *, speaks: bool = True) -> Iterator[None]:
    """Turn a `UserError` inside a command into `program: sentence` on stderr and exit code 2, an interrupt into 130.

    So is a path that no file can have, wherever it is met first. Names that are no text are printed with escapes.
    speaks: False for one of several processes that would all say the same; it stays until another one has said it,
    because the launcher ends them all when the first one ends.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    except UserError as error:
        sentence, code = str(error), 2
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        sentence, code = f"{error.filename} is too long for the name of a file; give a shorter one", 2
    except KeyboardInterrupt:
        sentence, code = "interrupted", 130
    else:
        return
    if speaks:
        print(f"{program}: {sentence}", file=sys.stderr)
    else:
        time.sleep(GRACE)
    sys.exit(code)


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
