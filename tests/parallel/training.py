"""What a rank does in tests/parallel/test_training.py."""

import contextlib
import io

from seedvr2 import train


def run(arguments: list[str]) -> str:
    """Train as from the command line; returns what this rank printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        train.main(arguments)
    return printed.getvalue()
