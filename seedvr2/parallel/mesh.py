"""Two views of the same ranks: what a rank eats (data x sequence) and what it holds (replicate x shard)."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from seedvr2.errors import UserError


@dataclass(frozen=True)
class Parallelism:
    """How the ranks of a run share its work.

    sequence: neighbouring ranks that share one clip (Ulysses); must divide the heads. shard: neighbouring ranks over
    which weights, gradients and optimizer state are spread (FSDP2), null: all. replicate: copies of such a group
    (HSDP), null: as many as there are ranks for. recompute: none; full (blocks run again in the backward pass);
    selective (so, but outputs of attention and of the exchanges around it are kept). compile: torch.compile per block.
    sync: exchange gradients at every micro-batch (least memory) or the last only. timeout: minutes without progress
    after which a run stops and names the rank that hangs.
    """

    sequence: int = 1
    shard: int | None = None
    replicate: int | None = None
    recompute: Literal["none", "full", "selective"] = "none"
    compile: bool = False
    sync: Literal["every", "last"] = "every"
    timeout: float = 30.0

    def __post_init__(self):
        for name in ("sequence", "shard", "replicate"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise UserError(f"parallel.{name} is {value!r}: use a whole number of at least 1")
        if self.timeout <= 0:
            raise UserError(f"parallel.timeout is {self.timeout}: use minutes above 0")

    @property
    def patience(self) -> timedelta:
        """How long an exchange may take: longer than the watch waits, which can say who hangs."""
        return timedelta(minutes=1.5 * self.timeout + 1)

    def degrees(self, world: int) -> tuple[int, int]:
        """(replicate, shard) for a number of ranks. Raises UserError if they do not fit."""
        shard = self.shard or world // (self.replicate or 1)
        replicate = self.replicate or world // max(1, shard)
        if replicate * shard != world:
            raise UserError(
                f"parallel.replicate {replicate} x parallel.shard {shard} are {replicate * shard} ranks, but {world} "
                "run: change them, or start as many (torchrun --nproc-per-node)"
            )
        if world % self.sequence:
            raise UserError(f"parallel.sequence is {self.sequence}, which does not divide the {world} ranks: change it")
        return replicate, shard


class Mesh:
    """The ranks of a run by their tasks; a single process has neither groups nor meshes."""

    def __init__(self, settings: Parallelism, device_type: str = "cpu"):
        self.settings = settings
        self.started = dist.is_initialized()
        self.world = dist.get_world_size() if self.started else 1
        self.rank = dist.get_rank() if self.started else 0
        replicate, shard = settings.degrees(self.world)
        self.data_size, self.data_rank = self.world // settings.sequence, self.rank // settings.sequence
        self.sequence: dist.ProcessGroup | None = None
        self.weights: DeviceMesh | None = None
        if self.started:
            if settings.sequence > 1:
                eaten = init_device_mesh(
                    device_type, (self.data_size, settings.sequence), mesh_dim_names=("data", "sequence")
                )
                _limit(eaten, settings.patience)
                self.sequence = eaten["sequence"].get_group()
            shape, names = ((shard,), ("shard",)) if replicate == 1 else ((replicate, shard), ("replicate", "shard"))
            self.weights = init_device_mesh(device_type, shape, mesh_dim_names=names)
            _limit(self.weights, settings.patience)

    def positions(self, batch: int) -> range:
        """This rank's places in a global batch. Raises UserError if the data ranks cannot share it equally."""
        if batch % self.data_size:
            raise UserError(
                f"a batch of {batch} clips cannot be shared by {self.data_size} data ranks: use a multiple of "
                f"{self.data_size} as the shape's batch, or more parallel.sequence"
            )
        each = batch // self.data_size
        return range(self.data_rank * each, (self.data_rank + 1) * each)


def _limit(mesh: DeviceMesh, timeout: timedelta) -> None:
    # groups that a mesh makes have torch's timeout, not that of the default group
    set_timeout = getattr(dist, "set_timeout", None) or dist.distributed_c10d._set_pg_timeout  # in older versions
    for group in mesh.get_all_groups():
        set_timeout(timeout, group)
