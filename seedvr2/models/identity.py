"""What a table of tensors is, by its names and shapes: for sentences about files that lie under the wrong name."""

from collections.abc import Mapping

import torch
from torch import Tensor

from seedvr2.errors import UserError
from seedvr2.models.released import RELEASED, dit_from_released, from_released
from seedvr2.models.released_vae import vae_shapes

FAMILIES = ("3b", "7b")


def family_of(state: Mapping[str, Tensor]) -> str | None:
    """The released family, "3b" or "7b", whose generator these are exactly the weights of; else None."""
    for family in FAMILIES:
        with torch.device("meta"):
            generator = dit_from_released(RELEASED[family], None)
        try:
            from_released(generator, {name: tensor.to("meta") for name, tensor in state.items()})
        except UserError:
            continue
        return family
    return None


def description(state: Mapping[str, Tensor]) -> str | None:
    """What these weights are, in words, or None if they are nothing released."""
    if family := family_of(state):
        return f"a generator of the {family} family"
    if {name: tensor.shape for name, tensor in state.items()} == vae_shapes(RELEASED["vae"]):
        return "the autoencoder"
    if len(state) == 1 and next(iter(state.values())).ndim == 2:
        return "a text embedding"
    if any(name.endswith(".lora_a.weight") for name in state):
        return "adapters, which --lora takes"
    return None
