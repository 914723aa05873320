"""What a rank does in tests/parallel/test_groups.py."""

from datetime import timedelta

import torch
import torch.distributed as dist

from seedvr2.parallel.mesh import Mesh, Parallelism


def timeout_of(group: dist.ProcessGroup) -> timedelta:
    return group._get_backend(torch.device("cpu")).options._timeout


def timeouts(settings: dict) -> list[timedelta]:
    """Those of all groups that a mesh works with."""
    mesh = Mesh(Parallelism(**settings))
    return [timeout_of(group) for group in [mesh.sequence, *mesh.weights.get_all_groups()] if group is not None]
