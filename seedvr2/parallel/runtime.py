"""The processes of a run: who they are, and the few things they agree on outside of networks."""

import os

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor, nn

from seedvr2.parallel.mesh import Mesh, Parallelism


class Runtime:
    """This process among those that `torchrun` or `accelerate launch` started, or alone.

    device: where its networks live. main: whether it writes files and speaks. mesh: what it shares with whom.
    """

    def __init__(self, settings: Parallelism, device: torch.device, *, owner: bool = False):
        self.owner = owner  # of the process group
        self.mesh = Mesh(settings, device.type)
        self.device, self.world, self.rank = device, self.mesh.world, self.mesh.rank
        self.main = self.rank == 0

    @classmethod
    def start(cls, settings: Parallelism, *, cpu: bool = False) -> "Runtime":
        """Bring the process up: `WORLD_SIZE` and `RANK` as the launcher set them; one process per device.

        A process alone needs no group: its networks are whole, with autocast, on a GPU as on the CPU.
        """
        owner = not dist.is_initialized()
        if owner and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            # numbers that ranks agree on stay on the CPU: NCCL alone would refuse them
            PartialState(cpu=cpu, timeout=settings.patience, **({} if cpu else {"backend": "cuda:nccl,cpu:gloo"}))
        device = torch.device("cpu")
        if not cpu:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(device)
        return cls(settings, device, owner=owner)

    def average(self, x: Tensor) -> Tensor:
        """Mean of a tensor over all ranks: of a batch's mean, that of the global batch."""
        if self.world == 1:
            return x
        total = x.detach().clone()
        dist.all_reduce(total)
        return total / self.world

    def largest(self, number: int) -> int:
        """The largest of all ranks' numbers."""
        if self.world == 1:
            return number
        said = torch.tensor(number)
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return int(said)

    def of_main(self, value):
        """The main process's value, on every rank; anything that can be pickled."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def group(self) -> dist.ProcessGroup | None:
        """A further group of all ranks on the CPU, for exchanges beside the training; None for a process alone.

        It lasts as long as the run, and holds connections to all ranks.
        """
        if self.world == 1:
            return None
        return dist.new_group(backend="gloo", timeout=self.mesh.settings.patience)

    def wait(self) -> None:
        """Until every rank is here."""
        if self.world > 1:
            self.largest(0)

    def stop(self) -> None:
        """Leave the process group, if `start` made it; together with all other ranks.

        A backend may wait for peers that are in a collective: a rank that fails alone must not call it.
        """
        if self.owner and dist.is_initialized():
            dist.destroy_process_group()


def average_gradients(network: nn.Module) -> None:
    """Mean over all ranks of the gradients of a network that every rank holds whole.

    A parameter that took part on some ranks only (a prompt that no clip drew) counts as zero on the others; one that
    took part nowhere keeps no gradient.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not parameters:
        return
    device, world = parameters[0].device, dist.get_world_size()
    used = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32, device=device)
    dist.all_reduce(used, dist.ReduceOp.MAX)
    for parameter, anywhere in zip(parameters, used.tolist(), strict=True):
        if anywhere:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
            parameter.grad /= world
