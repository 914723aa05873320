"""Networks for objectives: fresh or from a file, on the device. Objectives never see where their networks live."""

from pathlib import Path

import torch
from torch import nn

from seedvr2.models.discriminator import Discriminator
from seedvr2.models.released import load_released
from seedvr2.objectives.objective import Recipe
from seedvr2.randomness import seed_of
from seedvr2.training.weights import read_weights

_GENERATOR_ONLY = ("vid_out.", "vid_out_norm.", "vid_out_ada.")


class ModelBuilder:
    """Build networks in one fixed order: fresh seeded weights, weights of a file, device, mode.

    key: seeds fresh weights together with the network's name, so they depend on nothing else.
    """

    def __init__(self, device: torch.device, *key: str | int):
        self.device, self.key = device, key

    def __call__(self, name: str, recipe: Recipe, weights: Path | None = None, *, trainable: bool = True) -> nn.Module:
        """Build `recipe`; a discriminator takes a generator's file for its trunk. See `Build` in
        objectives/objective.py.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(*self.key, "weights", name))
            network = recipe()
        if weights is not None:
            state = read_weights(weights)
            if isinstance(network, Discriminator) and not any(key.startswith("heads.") for key in state):
                trunk = {key: value for key, value in state.items() if not key.startswith(_GENERATOR_ONLY)}
                own_heads = {k: v for k, v in network.state_dict().items() if not k.startswith("trunk.")}
                state = trunk | own_heads
            load_released(network, state)
        network = network.to(self.device).train(trainable)
        return network if trainable else network.requires_grad_(False)
