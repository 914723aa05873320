"""A training process that dies by SIGKILL at a chosen moment: `python -m tests.killing save|handover override ...`."""

import os
import signal
import sys

from seedvr2 import train
from seedvr2.training import checkpoint, trainer


def die(*arguments, **settings) -> None:
    """No handler runs, nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_between(export):
    """Die right after the first export, before the next stage starts."""

    def export_and_die(*arguments, **settings):
        export(*arguments, **settings)
        die()

    return export_and_die


if __name__ == "__main__":
    if sys.argv[1] == "save":
        save_sums = checkpoint.write_sums
        # the second save: its tensors are on the disk, its checksums are not
        checkpoint.write_sums = lambda folder, *rest: die() if "4" in folder.name else save_sums(folder, *rest)
    else:
        trainer.export = die_between(trainer.export)
    train.main(sys.argv[2:])
