"""Prove that a step split over ranks is the step of one process: sequence x shards x recompute x family x precision.

    python scripts/prove_parallel.py [--worlds 1 2 4]

Runs small networks on gloo ranks of this machine and prints, for each way to split them, the worst relative L2
difference of all outputs and gradients (generator, discriminator, generator through discriminator; ragged clips, token
counts that the ranks do not divide). Exit code 1 if one is above 1e-10 in fp64 or 1e-5 in fp32. Takes a few minutes.
"""

import argparse
import itertools
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.parallel.equality import difference

FAMILIES, RECOMPUTE = ("3b", "7b"), ("none", "full", "selective")
LIMITS = {torch.float64: 1e-10, torch.float32: 1e-5}


def main() -> None:
    """Start the ranks; exit code 1 if one of them found a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 4], choices=[1, 2, 4], help="numbers of ranks")
    parser.add_argument("--families", nargs="+", default=FAMILIES, choices=FAMILIES)
    options = parser.parse_args()
    start, wrong = time.monotonic(), 0
    print("ranks  sequence  weights  recompute  family  worst fp64  worst fp32", flush=True)
    for world in options.worlds:
        with tempfile.TemporaryDirectory() as folder:
            found = mp.get_context("spawn").SimpleQueue()
            mp.spawn(prove, (world, f"{folder}/store", options.families, found), nprocs=world)
            wrong += found.get()
    seconds = time.monotonic() - start
    print(f"{f'{wrong} differences are too large' if wrong else 'all are equal'} ({seconds:.0f} s)")
    sys.exit(bool(wrong))


def prove(rank: int, world: int, store: str, families: list[str], found) -> None:
    """One rank: all ways to split work over `world` ranks. The first one prints, and tells how many are wrong."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")  # nothing changes it in place
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    wrong = 0
    for sequence, replicate, recompute, family in grid(world, families):
        settings = {"sequence": sequence, "replicate": replicate, "recompute": recompute}
        worst = torch.tensor([max(difference(family, settings, dtype).values()) for dtype in LIMITS])
        dist.all_reduce(worst, dist.ReduceOp.MAX)
        wrong += sum(not value <= limit for value, limit in zip(worst.tolist(), LIMITS.values(), strict=True))
        if rank == 0:
            weights = "FSDP" if replicate == 1 else "HSDP"
            errors = "  ".join(f"{value:10.1e}" for value in worst.tolist())
            print(f"{world:5}  {sequence:8}  {weights:7}  {recompute:9}  {family:6}  {errors}", flush=True)
    if rank == 0:
        found.put(wrong)
    dist.destroy_process_group()


def grid(world: int, families: list[str]):
    """(sequence, replicate, recompute, family) for that many ranks; HSDP is two copies of the shards."""
    sequences = [n for n in (1, 2, 4) if world % n == 0]
    copies = [1] if world == 1 else [1, 2]
    return itertools.product(sequences, copies, RECOMPUTE, families)


if __name__ == "__main__":
    main()
