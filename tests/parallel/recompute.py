"""What a rank does in tests/parallel/test_recompute.py."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from seedvr2.parallel.mesh import Mesh, Parallelism
from seedvr2.parallel.shard import parallelize
from tests.parallel.networks import inputs, players


class Counter(TorchDispatchMode):
    """Counts operators by name."""

    def __init__(self):
        super().__init__()
        self.counts: dict[str, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split(".")[0]
        self.counts[name] = self.counts.get(name, 0) + 1
        return func(*args, **(kwargs or {}))


def counted(recompute: str) -> dict[str, dict[str, int]]:
    """Operators of a generator's forward and backward pass over two sequence peers."""
    mesh = Mesh(Parallelism(sequence=2, recompute=recompute))
    generator = parallelize(players("7b", torch.float32)[0], mesh, half=False)
    counters = {"forward": Counter(), "backward": Counter()}
    with counters["forward"]:
        loss = generator(*inputs(0, torch.float32)).square().mean()
    with counters["backward"]:
        loss.backward()
    return {name: counter.counts for name, counter in counters.items()}
