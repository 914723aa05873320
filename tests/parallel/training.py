"""What a rank does in tests/parallel/test_training.py."""

import contextlib
import gc
import io
import os
import signal
import weakref

import torch.distributed as dist

from seedvr2 import train
from seedvr2.optim.trainee import Trainee
from seedvr2.training.builder import ModelBuilder


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


def left_over(arguments: list[str]) -> list[str]:
    """Train without the collector of cycles; parts of networks that were there when another stage built its own."""
    usual, made, found = ModelBuilder.__call__, [], set()

    def build(self, name, *recipe, **settings):
        stage = self.key[-1]
        found.update(f"{old}/{part}" for old, part, reference in made if old != stage and reference() is not None)
        network = usual(self, name, *recipe, **settings)
        made.extend((stage, f"{name}.{part}", weakref.ref(module)) for part, module in network.named_modules())
        return network

    ModelBuilder.__call__ = build
    gc.disable()
    try:
        run(arguments)
    finally:
        gc.enable()
        ModelBuilder.__call__ = usual
    assert len({stage for stage, *_ in made}) > 1
    return sorted(found)
