"""What a rank does in tests/parallel/test_groups.py."""

from datetime import timedelta

import torch
import torch.distributed as dist

from seedvr2.parallel.mesh import Parallelism
from seedvr2.parallel.runtime import Runtime
from seedvr2.training.run import Run
from seedvr2.training.tracker import Tracker
from seedvr2.training.trainer import Trainer
from tests.training.test_trainer import stage


def timeout_of(group: dist.ProcessGroup) -> timedelta:
    return group._get_backend(torch.device("cpu")).options._timeout


def timeouts(settings: dict) -> list[timedelta]:
    """Those of all groups that a run works with."""
    runtime = Runtime(Parallelism(**settings), torch.device("cpu"))
    groups = [runtime.mesh.sequence, *runtime.mesh.weights.get_all_groups(), runtime.group()]
    return [timeout_of(group) for group in groups if group is not None]


def made(folder: str, count: int) -> int:
    """How many groups the stages of a run make."""
    run, runtime = Run(dir=folder, device="cpu"), Runtime(Parallelism(), torch.device("cpu"))
    run.folder.mkdir(exist_ok=True)
    before = len(dist.distributed_c10d._world.pg_map)
    stages = [stage(f"stage{number}", iterations=2) for number in range(count)]
    Trainer(run, stages, Tracker(run.folder, main=runtime.main), runtime=runtime).fit()
    return len(dist.distributed_c10d._world.pg_map) - before
