"""A rank of tests/parallel/test_watch.py, as a process of its own: number, port of the store."""

import sys
import time

import torch
import torch.distributed as dist

from seedvr2.parallel.mesh import Parallelism
from seedvr2.parallel.runtime import Runtime
from seedvr2.parallel.watch import Watch

WORLD, TIMEOUT, SLEEPER, LAST = 2, 2.0, 1, 25


def main(rank: int, port: int) -> None:
    """Steps that the ranks take together, longer in sum than the timeout; in the last one a rank sleeps."""
    store = dist.TCPStore("localhost", port)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD)
    runtime = Runtime(Parallelism(), torch.device("cpu"), owner=True)
    watch = Watch(runtime, TIMEOUT)
    for step in range(LAST + 1):
        watch.beat(f"stage base step {step}: waiting for data")
        time.sleep(60 if rank == SLEEPER and step == LAST else 0.1)
        watch.beat(f"stage base step {step}: update")
        runtime.wait()
    watch.stop()
    runtime.stop()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
