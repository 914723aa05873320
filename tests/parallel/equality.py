"""What a rank does in tests/parallel/test_equality.py, and the single process it must equal."""

import functools

import torch
from torch import Tensor

from seedvr2.parallel.mesh import Mesh, Parallelism
from seedvr2.parallel.shard import parallelize
from tests.parallel.networks import played, players


@functools.cache
def alone(family: str, parts: tuple[int, ...], dtype: torch.dtype) -> dict[str, Tensor]:
    """The results of one process for the clips of all data ranks."""
    return played(*players(family, dtype), list(parts), dtype)


def difference(family: str, settings: dict, dtype: torch.dtype) -> dict[str, float]:
    """Largest relative L2 difference, over all outputs and gradients, of this rank against a single process."""
    mesh = Mesh(Parallelism(**settings))
    part = mesh.data_rank % 2
    ours = played(*(parallelize(network, mesh, half=False) for network in players(family, dtype)), [part], dtype)
    parts = tuple(sorted({rank % 2 for rank in range(mesh.data_size)}))
    whole = alone(family, parts, dtype)
    scale = {name: len(parts) if "text" in name else 1 for name in ours}  # a clip's text sees its own loss only
    return {
        name: float((value - whole[name] * scale[name]).norm() / (whole[name].norm() * scale[name] + 1e-9))
        for name, value in ours.items()
    }


def halved(family: str, settings: dict) -> tuple[dict[str, float], set[str]]:
    """The same for bf16 networks with inputs and gradients in fp32, and the types of what must stay fp32."""
    mesh = Mesh(Parallelism(**settings))
    networks = [parallelize(network, mesh, half=True) for network in players(family, torch.float32)]
    kinds = set()
    networks[1].verdict.register_forward_hook(
        lambda layer, given, made: kinds.add((layer.logit.weight.dtype, made.dtype))
    )
    ours = played(*networks, [mesh.data_rank % 2], torch.float32)
    kinds |= {(value.dtype,) for name, value in ours.items() if name[1] == "/"}
    parts = tuple(sorted({rank % 2 for rank in range(mesh.data_size)}))
    whole = alone(family, parts, torch.float32)
    names = [name for name in ours if name.startswith(("logits", "fake", "features"))]
    differences = {name: float((ours[name].float() - whole[name]).norm() / whole[name].norm()) for name in names}
    return differences, {str(kind) for found in kinds for kind in found}
