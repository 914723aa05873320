"""The two kinds of failure: a user's mistake is one sentence and exit code 2, a bug is a traceback."""

import contextlib
import sys
from collections.abc import Iterator


class UserError(ValueError):
    """A mistake the user can repair; the message is one sentence with the offending value and the fix."""


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
