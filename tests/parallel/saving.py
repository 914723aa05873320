"""What a rank does in tests/parallel/test_saving.py."""

import copy
import functools
import resource
import types
from pathlib import Path

import torch
import torch.distributed as dist

from seedvr2.errors import UserError
from seedvr2.optim.trainee import Trainee
from seedvr2.parallel.mesh import Mesh, Parallelism
from seedvr2.parallel.runtime import Runtime
from seedvr2.parallel.shard import parallelize
from seedvr2.training.checkpoint import Checkpointer, flattened
from tests.parallel.networks import inputs, players


def make(settings: dict, seed: int) -> tuple[Trainee, callable]:
    """A trainee of a generator over all ranks (or alone), and its step."""
    generator = players("3b", torch.float32)[0]
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(1 + 0.01 * seed)
    mesh = Mesh(Parallelism(**settings))
    network = parallelize(generator, mesh, half=False)
    optimizer = functools.partial(torch.optim.AdamW, lr=1e-3, fused=True)
    trainee = Trainee({"generator": network}, optimizer=optimizer, total=9, ema=0.9)

    def step() -> float:
        logs = trainee.update([None], lambda _: two_losses(network))
        return float(logs["loss"])

    def two_losses(network):
        loss = network(*inputs(0, torch.float32)).square().mean()
        return loss, {"loss": loss}

    return trainee, step


def everything(trainee: Trainee) -> dict:
    """All state, whole, on this rank."""
    flat = flattened(trainee.state_dict())
    return {k: v.full_tensor() if hasattr(v, "full_tensor") else copy.deepcopy(v) for k, v in flat.items()}


def checkpointer(folder: str, **stateful) -> Checkpointer:
    """Of all ranks, or of a process alone."""
    return Checkpointer(Path(folder), stateful, group=Runtime(Parallelism(), torch.device("cpu")).group())


def train_and_save(folder: str, settings: dict) -> tuple[dict, list[float]]:
    """Three steps, a checkpoint, what it must hold, and the next two losses."""
    trainee, step = make(settings, 0)
    for _ in range(3):
        step()
    checkpoint = checkpointer(folder, student=trainee)
    checkpoint.save(3)
    state = everything(trainee)
    after = [step(), step()]  # while it is being written
    checkpoint.wait()
    if dist.is_initialized():
        dist.barrier()
    return state, after


def save_without_room(folder: str, poor: int) -> tuple[str, list[int]]:
    """What is raised when one rank cannot write its files after a checkpoint that all could, and what is left."""
    value = torch.zeros(2**18)
    thing = types.SimpleNamespace(state_dict=lambda: {f"value{dist.get_rank()}": value})
    checkpoint = checkpointer(folder, thing=thing)
    checkpoint.save(1)
    checkpoint.wait()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if dist.get_rank() == poor:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        checkpoint.save(2)
        checkpoint.wait()
    except UserError as error:
        return str(error), checkpoint.steps()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    return "nothing", checkpoint.steps()


def load_and_go_on(folder: str, settings: dict) -> tuple[dict, list[float]]:
    """What a checkpoint gives a trainee that began elsewhere, and its next two losses."""
    trainee, step = make(settings, 5)
    assert checkpointer(folder, student=trainee).resume() == 3
    return everything(trainee), [step(), step()]
