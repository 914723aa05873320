"""Networks for objectives: fresh or from a file, spread over the ranks, which objectives never see."""

import copy
import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from seedvr2.models.discriminator import Discriminator
from seedvr2.models.dit import Trunk
from seedvr2.models.lora import is_adapter
from seedvr2.models.released import from_released, load_released
from seedvr2.objectives.objective import Recipe
from seedvr2.parallel.runtime import Runtime, average_gradients
from seedvr2.parallel.shard import parallelize
from seedvr2.randomness import seed_of, torch_generator
from seedvr2.training.weights import read_weights

_GENERATOR_ONLY = ("vid_out.", "vid_out_norm.", "vid_out_ada.")


class ModelBuilder:
    """Build networks in one fixed order: shape (meta), parallelism, memory, weights, mode.

    key: seeds fresh weights together with the network's name, so they depend on nothing else. half: compute in bf16.
    """

    def __init__(self, runtime: Runtime, *key: str | int, half: bool = False):
        self.runtime, self.key, self.half = runtime, key, half
        self.device, self.average = runtime.device, runtime.average

    def __call__(
        self,
        name: str,
        recipe: Recipe,
        weights: Path | None = None,
        *,
        trainable: bool = True,
        start: Callable[[nn.Module, torch.Generator], None] | None = None,
    ) -> nn.Module:
        """Build `recipe`; a discriminator takes a generator's file for its trunk. See `Build` in
        objectives/objective.py.
        """
        with torch.device("meta"):
            network = recipe()
        if any(isinstance(module, Trunk) for module in network.modules()):
            network = self._spread(name, recipe, network, weights, start, trainable)
        else:
            network = self._whole(name, recipe, weights, start, trainable)
        return network.train(trainable)

    def _whole(self, name, recipe, weights, start, trainable) -> nn.Module:
        # Networks that every rank holds: VAE, prompts, patch discriminator.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(*self.key, "weights", name))
            network = recipe()
        if weights is not None:
            load_released(network, read_weights(weights))
        elif start is not None:
            start(network, torch_generator(*self.key, "start", name))
        network = network.to(self.device)
        if not trainable:
            return network.requires_grad_(False)
        if self.runtime.world > 1:
            network.finish_gradients = functools.partial(average_gradients, network)
        return network

    def _spread(self, name, recipe, network, weights, start, trainable) -> nn.Module:
        # Networks that may be larger than a device: no rank ever holds one whole, unless `start` has to see it.
        owners = {name: name.rpartition(".")[::2] for name, _ in network.named_parameters()}  # (module, own name)
        given: Mapping[str, Tensor] = {}
        key = (*self.key, "weights", name)
        if weights is not None:
            given = weights_for(network, read_weights(weights))
        elif start is not None:
            given = self._started(recipe, start, name, key)
        shapes = copy.deepcopy(network)  # before its parameters become shards
        if not trainable:
            network.requires_grad_(False)
        network = parallelize(network, self.runtime.mesh, half=self.half)
        if self.half and self.runtime.mesh.weights is None:
            for parameter in network.parameters():
                if not parameter.requires_grad:  # a network, or all of it but its adapters
                    parameter.data = parameter.data.to(torch.bfloat16)
        network.to_empty(device=self.device)
        fresh: dict[str, dict[str, Tensor]] = {}
        for full_name, parameter in network.named_parameters():
            path, own = owners[full_name]
            if full_name not in given and path not in fresh:
                fresh = {path: fresh_weights(shapes.get_submodule(path), *key, path)}
            fill(parameter, given[full_name] if full_name in given else fresh[path][own])
        return network

    def _started(self, recipe, start, name, key) -> dict[str, Tensor]:
        network = recipe()
        for path, module in network.named_modules():
            for own, value in fresh_weights(module, *key, path).items():
                getattr(module, own).data.copy_(value)
        start(network, torch_generator(*self.key, "start", name))
        return network.state_dict()


def fresh_weights(module: nn.Module, *key: str | int) -> dict[str, Tensor]:
    """Random values of a module's own parameters, drawn by its `reset_parameters` on the CPU, seeded by the key."""
    shapes = {name: p for name, p in module._parameters.items() if p is not None}
    if not shapes:
        return {}
    twin = copy.copy(module)
    twin._parameters = dict.fromkeys(module._parameters)
    twin._parameters |= {name: nn.Parameter(torch.empty(p.shape, dtype=p.dtype)) for name, p in shapes.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(*key))
        twin.reset_parameters()
    return {name: twin._parameters[name].detach() for name in shapes}


@torch.no_grad()
def fill(parameter: Tensor, value: Tensor) -> None:
    """Give a parameter the values of the whole tensor `value`; of a shard, each rank takes its own part."""
    if isinstance(parameter, DTensor):
        whole = value.to(parameter.device, parameter.dtype)
        mine = distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)
        parameter.to_local().copy_(mine.to_local())
    else:
        parameter.copy_(value)


def weights_for(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors under the network's own names; a discriminator may take a generator's, and has no heads then.

    LoRA adapters are never among them: they start afresh. Raises UserError for files that do not fit.
    """
    own = network.state_dict()
    fresh = {key for key in own if is_adapter(key)}
    if isinstance(network, Discriminator) and not any(key.startswith("heads.") for key in state):
        state = {key: value for key, value in state.items() if not key.startswith(_GENERATOR_ONLY)}
        fresh |= {key for key in own if not key.startswith("trunk.")}
    found = from_released(network, {**state, **{key.removeprefix("trunk."): own[key] for key in fresh}})
    return {key: value for key, value in found.items() if key not in fresh}
