"""What a rank does in tests/parallel/test_training.py."""

import contextlib
import io
import os
import signal

import torch.distributed as dist

from seedvr2 import train
from seedvr2.optim.trainee import Trainee


def run(arguments: list[str]) -> str:
    """Train as from the command line; returns what this rank printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        train.main(arguments)
    return printed.getvalue()


def interrupted(arguments: list[str], victim: int, after: int) -> tuple[int | str | None, str]:
    """Train, with a SIGTERM for one rank during update number `after`; returns the exit code and what was printed."""
    update, done = Trainee.update, 0

    def fragile(self, batches, loss):
        nonlocal done
        done += 1
        if done == after and dist.get_rank() == victim:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(self, batches, loss)

    printed = io.StringIO()
    Trainee.update = fragile
    try:
        with contextlib.redirect_stdout(printed):
            train.main(arguments)
    except SystemExit as stop:
        return stop.code, printed.getvalue()
    finally:
        Trainee.update = update
    return None, printed.getvalue()
