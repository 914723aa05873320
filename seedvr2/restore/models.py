"""From the files of a model to its networks, ready to run, with a sentence for every file that does not fit."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from seedvr2.errors import UserError
from seedvr2.models.codec import RELEASED_SCALE, LatentCodec
from seedvr2.models.dit import SwinMMDiT
from seedvr2.models.identity import description, family_of
from seedvr2.models.lora import merge_lora
from seedvr2.models.prompts import Prompts
from seedvr2.models.released import RELEASED, dit_from_released, load_released, vae_from_released
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.weight_files import read_embedding, read_state_dict
from seedvr2.restore.search import ModelFiles
from seedvr2.training.weights import load_network, read_metadata


@dataclass(frozen=True)
class Adapters:
    """A file of adapters to merge into a generator. strength: their factor, None for the one in the file."""

    path: Path
    strength: float | None = None


@dataclass(frozen=True)
class Model:
    """A model ready to run: its generator and codec, and the embeddings (M, text_dim) of its prompts.

    negative: None where nothing is guided away from anything.
    """

    generator: nn.Module
    codec: LatentCodec
    prompt: torch.Tensor
    negative: torch.Tensor | None = None


def heads_of(files: ModelFiles) -> int:
    """Attention heads of a model's generator, without loading it."""
    if files.released:
        return RELEASED[files.released]["heads"]
    return read_metadata(files.generator)["recipe"]["trunk"]["heads"]


def load_model(
    files: ModelFiles, *, device: torch.device, dtype: torch.dtype, posterior: str, adapters: Adapters | None = None
) -> Model:
    """Load a model for inference onto a device; raises UserError that names the file if something does not fit."""
    load = _load_released if files.released else _load_own
    generator, vae, scale, prompts = load(files)
    for prompt, path in zip(prompts, (files.prompts, files.negative or files.prompts), strict=False):
        if prompt.shape[1] != (width := generator.trunk.txt_in.in_features):
            raise UserError(
                f"{path} holds text embeddings of width {prompt.shape[1]}, but the generator of {files.name} takes "
                f"{width}; use the ones that belong to it"
            )
    if adapters is not None:
        _adapt(generator, adapters)
    for network, path in ((generator, files.generator), (vae, files.vae)):
        placed(network, device, dtype, is_own=not files.released).eval().requires_grad_(False)
        _check_finite(network, path)
    return Model(generator, LatentCodec(vae, scale, posterior), *prompts)


def placed(network: nn.Module, device: torch.device | str, dtype: torch.dtype, *, is_own: bool) -> nn.Module:
    """Put a network onto the device and into the type that it runs in.

    The encoder of an autoencoder of our own stays float32: it starts as a codec with large constants
    (`seedvr2.models.vae.start`), so that 16 bits would leave its latents off by as much as their finest details.
    """
    if not (is_own and isinstance(network, VideoVAE)):
        return network.to(device=device, dtype=dtype)
    for name, part in network.named_children():
        part.to(device=device, dtype=torch.float32 if name == "encoder" else dtype)
    if dtype != torch.float32 and torch.device(device).type == "cpu":
        for parameter in network.encoder.parameters():
            parameter.data = parameter.clone()  # as part of the mapped file it would keep all of that in memory
    return network


def _check_finite(network: nn.Module, path: Path) -> None:
    for name, weight in network.state_dict().items():
        if not weight.isfinite().all():
            raise UserError(
                f"{name} of {path} is not finite in {str(weight.dtype).removeprefix('torch.')}; fetch the file again, "
                "or use another --dtype"
            )


_LORA_FACTS = {"rank": int, "alpha": int | float, "base": str, "strength": int | float}


def lora_facts(path: Path) -> dict:
    """What a file of adapters says of them in its header; raises UserError for one that holds none."""
    facts = read_metadata(path).get("lora")
    if facts is None:
        raise UserError(f"{path} holds no adapters; give the lora.safetensors of a fine-tuning stage")
    for name, kinds in _LORA_FACTS.items():
        if not (isinstance(facts, dict) and isinstance(facts.get(name), kinds)):
            raise UserError(f"{path} does not say the {name} of its adapters; use a file exported by seedvr2.train")
    return facts


def _adapt(generator: nn.Module, adapters: Adapters) -> None:
    path, facts = adapters.path, lora_facts(adapters.path)
    strength = facts["strength"] if adapters.strength is None else adapters.strength
    values = {name: facts[name] for name in ("rank", "alpha", "base")}
    try:
        merge_lora(generator, read_state_dict(path), **values, strength=strength)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _load_own(files: ModelFiles) -> tuple[nn.Module, nn.Module, float, list[torch.Tensor]]:
    scale = read_metadata(files.vae).get("scale")
    if not (isinstance(scale, int | float) and 0 < scale < math.inf):
        raise UserError(f"{files.vae} does not say the scale of its latents; use a file exported by seedvr2.train")
    loaded = []
    wanted = {files.generator: SwinMMDiT, files.vae: VideoVAE, files.prompts: Prompts}
    for path, kind in wanted.items():
        network = load_network(path)
        if not isinstance(network, kind):
            raise UserError(f"{path} holds a {type(network).__name__} instead of a {kind.__name__}; use the right file")
        loaded.append(network)
    generator, vae, prompts = loaded
    if files.faithful is not None:
        interpolate(generator, files.faithful, files.fidelity)
    return generator, vae, scale, [prompts("positive").detach(), prompts("negative").detach()]


@torch.no_grad()
def interpolate(generator: nn.Module, other: Path, share: float) -> None:
    """Move the weights of a generator a share of the way to those of another one's file.

    Raises UserError if the two are not of one architecture.
    """
    if share == 0:
        return
    ends = generator.state_dict(), load_network(other).state_dict()
    shapes = [{key: value.shape for key, value in end.items()} for end in ends]
    if shapes[0] != shapes[1]:
        raise UserError(f"{other} holds a generator of another size, so nothing lies between the two; remove the file")
    near, far = ends
    if share < 1:  # else the other one, to the bit
        far = {key: value.lerp(far[key], share) for key, value in near.items()}
    generator.load_state_dict(far)


def _load_released(files: ModelFiles) -> tuple[nn.Module, nn.Module, float, list[torch.Tensor]]:
    with torch.device("meta"):  # tensors go from the mapped file to the device, without a second copy in memory
        generator = dit_from_released(RELEASED[files.released], None)
    state = read_state_dict(files.generator)
    try:
        load_released(generator, state)
    except UserError as error:
        raise UserError(_misplaced(files, state, error)) from error
    state = read_state_dict(files.vae)
    try:
        vae = vae_from_released(RELEASED["vae"], state)
    except UserError as error:
        found = description(state)
        raise UserError(
            f"{files.vae} holds {found} instead of the autoencoder; put ema_vae.pth there"
            if found
            else f"{files.vae}: {error}"
        ) from error
    paths = (files.prompts, files.negative)
    return generator, vae, RELEASED_SCALE, [read_embedding(path) for path in paths if path is not None]


def _misplaced(files: ModelFiles, state: dict[str, torch.Tensor], error: UserError) -> str:
    """The sentence for weights that do not fit a released generator."""
    if family := family_of(state):
        return (
            f"{files.generator} holds a generator of the {family} family, but {files.name} is of the {files.released} "
            f"family; give it the name of a {family} model's file, or say family: {family} in a table of models"
        )
    found = description(state)
    return (
        f"{files.generator} holds {found} instead of a generator; use the file of one"
        if found
        else f"{files.generator}: {error}"
    )
