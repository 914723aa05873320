"""The GPU that a plan is made for."""

from dataclasses import dataclass

from seedvr2.errors import UserError


@dataclass(frozen=True)
class Gpu:
    """memory: GiB that a process sees; reserve: GiB of it for the CUDA context, NCCL and fragmentation.

    peak: dense bf16 TFLOP/s; efficiency: share of it that training is taken to reach; tf32: dense TF32 TFLOP/s, for the
    VAE. link, network: GB/s that a GPU sends, inside its node and to other nodes. per_node: GPUs per node. Raises
    UserError for values that are not positive.
    """

    name: str
    memory: float
    peak: float
    tf32: float
    link: float
    network: float
    per_node: int = 8
    efficiency: float = 0.4
    reserve: float = 3.0

    def __post_init__(self):
        for key in ("memory", "peak", "tf32", "link", "network", "per_node", "efficiency"):
            if not getattr(self, key) > 0:
                raise UserError(f"gpu.{key} is {getattr(self, key)!r}: use a number above 0")

    @property
    def usable(self) -> float:
        """Bytes that a run may use."""
        return (self.memory - self.reserve) * 2**30

    def bandwidth(self, ranks: int, stride: int = 1) -> float:
        """Bytes/s that each of a group of ranks, `stride` apart, sends: the network's if they span nodes."""
        return 1e9 * (self.link if ranks * stride <= self.per_node else self.network)
