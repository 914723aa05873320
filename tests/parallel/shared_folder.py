"""What a rank does in tests/parallel/test_shared_folder.py."""

from pathlib import Path

import torch
import torch.distributed as dist

from seedvr2.parallel.mesh import Parallelism
from seedvr2.parallel.runtime import Runtime
from seedvr2.training.run import Run
from seedvr2.training.tracker import Tracker
from seedvr2.training.trainer import Trainer
from tests.training.test_trainer import Fit, stage


def fit(folder: str, iterations: list[int]) -> list[int]:
    """Train stages of these lengths; returns the steps that were taken."""
    run, runtime = Run(dir=folder, device="cpu"), Runtime(Parallelism(), torch.device("cpu"))
    run.folder.mkdir(exist_ok=True)
    stages = [stage(f"stage{number}", iterations=count) for number, count in enumerate(iterations)]
    Fit.log = []
    Trainer(run, stages, Tracker(run.folder, main=runtime.main), runtime=runtime).fit()
    return [step for step, _ in Fit.log]


def fit_where_names_are_missing(folder: str, iterations: list[int], names: list[str]) -> list[int]:
    """The same, with names that only the main rank sees in a folder."""
    glob = Path.glob

    def stale(self, pattern):
        return (path for path in glob(self, pattern) if path.name not in names)

    if dist.get_rank():
        Path.glob = stale
    try:
        return fit(folder, iterations)
    finally:
        Path.glob = glob
