"""A rank of tests/parallel/test_failing.py that fails, or waits for the one that does: train or infer, arguments.

Leaving the process group takes for ever here, as it may while peers are in a collective, and so does the end of the
interpreter.
"""

import sys
import threading
import time

import torch.distributed as dist

from seedvr2 import infer, train
from seedvr2.parallel.crew import Crew
from seedvr2.training.trainer import Trainer

VICTIM = 1


def never() -> None:
    """Longer than any test."""
    time.sleep(600)


def work(*_arguments) -> None:
    """One rank fails, the others wait for it in a collective."""
    threading.Thread(target=never).start()
    if dist.get_rank() == VICTIM:
        raise RuntimeError("power cut")
    dist.barrier()


def together(_chosen, _arguments, crew: Crew) -> list[str]:
    """A work of all ranks, in which one fails."""
    crew.works["work"] = work
    if crew.main:
        with crew.leading():
            crew.call("work")
    crew.follow()
    return []


if __name__ == "__main__":
    dist.destroy_process_group = never
    Trainer.fit, infer.restore_together = work, together
    {"train": train, "infer": infer}[sys.argv[1]].main(sys.argv[2:])
