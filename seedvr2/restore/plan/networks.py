"""The networks of a model on the meta device: their shapes and types as a run will have them, without any weights."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seedvr2.models.released import RELEASED, dit_from_released
from seedvr2.models.released_vae import BUILD_KEYS
from seedvr2.models.storage import store
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.inference import InferenceVAE
from seedvr2.restore.models import placed
from seedvr2.restore.search import ModelFiles
from seedvr2.training.weights import outline

RELEASED_TEXT = 64  # tokens of the longer of the released prompts


class Outline(NamedTuple):
    """Generator, autoencoder and text embedding (M, text_dim), all on the meta device."""

    generator: nn.Module
    vae: InferenceVAE | VideoVAE
    prompt: Tensor

    def bytes(self) -> dict[str, int]:
        """What the weights take, by network."""
        return {name: sum(x.nbytes for x in tensors(network)) for name, network in self._asdict().items()}


def tensors(network: nn.Module | Tensor) -> list[Tensor]:
    """Parameters and buffers."""
    if isinstance(network, Tensor):
        return [network]
    return [*network.parameters(), *network.buffers()]


def outline_model(files: ModelFiles, *, dtype: torch.dtype, weights: str = "full", vae: str = "fast") -> Outline:
    """The networks in a type. weights: storage of the generator's large layers, see `seedvr2.models.storage`. vae:
    "fast" or "plain".

    Raises UserError for files that do not say what they hold.
    """
    if files.released:
        config = RELEASED["vae"]
        with torch.device("meta"):
            generator = dit_from_released(RELEASED[files.released], None)
            coder = VideoVAE(**{name: config[key] for key, name in BUILD_KEYS.items()})
        prompt = torch.empty(RELEASED_TEXT, generator.trunk.txt_in.in_features, device="meta")
    else:
        generator, coder = outline(files.generator), outline(files.vae)
        prompt = outline(files.prompts)("positive").detach()
    for network in (generator, coder):
        placed(network, "meta", dtype, is_own=not files.released).eval().requires_grad_(False)
    return Outline(store(generator, weights), InferenceVAE(coder) if vae == "fast" else coder, prompt.to(dtype))
