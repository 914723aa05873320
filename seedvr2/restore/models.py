"""Where the networks of a model lie: bundled, made by a training run, or released.

Nothing is downloaded here. A model is three networks' files: the autoencoder, the generator and the text embedding.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import huggingface_hub
import torch
from torch import nn

from seedvr2.errors import UserError
from seedvr2.models.codec import RELEASED_SCALE, LatentCodec
from seedvr2.models.lora import merge_lora
from seedvr2.models.released import RELEASED, dit_from_released, load_released, read_state_dict, vae_from_released
from seedvr2.restore.stages import finished_stages, trained_steps
from seedvr2.training.weights import load_network, read_metadata

TINY = "tiny"
BUNDLED = Path(__file__).resolve().parents[1] / "assets" / TINY
GENERATOR_FILE = "generator.safetensors"
OWN_FILES = ("vae.safetensors", GENERATOR_FILE, "prompts.safetensors")
RELEASED_FILES = {
    size: ("ema_vae.pth", f"seedvr2_ema_{size}.pth", "pos_emb.pt") for size in ("3b", "7b")
}  # autoencoder, generator, text embedding
REPOSITORIES = {"3b": "ByteDance-Seed/SeedVR2-3B", "7b": "ByteDance-Seed/SeedVR2-7B"}
WEIGHTS_VARIABLE = "SEEDVR2_WEIGHTS"


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model, all of which exist.

    origin: in words, where they were found. released: "3b" or "7b" for released weights, whose format differs from
    ours. steps: sampling steps that the generator is made for, None if it takes any number.
    """

    name: str
    origin: str
    vae: Path
    generator: Path
    prompts: Path
    released: str | None = None
    steps: int | None = 1


@dataclass(frozen=True)
class Adapters:
    """A file of adapters to merge into a generator. strength: their factor, None for the one in the file."""

    path: Path
    strength: float | None = None


@dataclass(frozen=True)
class Model:
    """A model ready to run: its generator and codec, and the embedding (M, text_dim) of its positive prompt."""

    generator: nn.Module
    codec: LatentCodec
    prompt: torch.Tensor


def find_model(name: str | None, *, has_gpu: bool) -> ModelFiles:
    """The files of a model named tiny, 3b, 7b or by a folder; None chooses released weights on a GPU, else tiny.

    A folder is a model folder, a stage of a run, or a run, of which the last finished stage with a generator is taken.
    Raises UserError if there is no such model.
    """
    if name is None:
        available = [released_files(size) for size in RELEASED_FILES] if has_gpu else []
        return next((files for files in available if files is not None), None) or _bundled()
    if name == TINY:
        return _bundled()
    if name in RELEASED_FILES:
        return released_files(name) or _missing_released(name)
    if not Path(name).is_dir():
        known = ", ".join((TINY, *RELEASED_FILES))
        raise UserError(f"there is no model {name}; give {known} or the folder of a model or training run")
    return _from_folder(name)


def released_files(size: str) -> ModelFiles | None:
    """The released files of one size in $SEEDVR2_WEIGHTS or the Hugging Face cache, or None."""
    for origin, files in (
        (f"from ${WEIGHTS_VARIABLE}", _in_weights_folder(size)),
        ("from the Hugging Face cache", _in_cache(size)),
    ):
        if files is not None:
            return ModelFiles(size, origin, *files, released=size)
    return None


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
    generator, vae, scale, prompt = load(files)
    if adapters is not None:
        _adapt(generator, adapters)
    for network in (generator, vae):
        network.to(device=device, dtype=dtype).eval().requires_grad_(False)
    return Model(generator, LatentCodec(vae, scale, posterior), prompt)


def _adapt(generator: nn.Module, adapters: Adapters) -> None:
    path = adapters.path
    facts = read_metadata(path).get("lora")
    if facts is None:
        raise UserError(f"{path} holds no adapters; give the lora.safetensors of a fine-tuning stage")
    strength = facts["strength"] if adapters.strength is None else adapters.strength
    values = {name: facts[name] for name in ("rank", "alpha", "base")}
    try:
        merge_lora(generator, read_state_dict(path), **values, strength=strength)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _load_own(files: ModelFiles) -> tuple[nn.Module, nn.Module, float, torch.Tensor]:
    facts = read_metadata(files.vae)
    if "scale" not in facts:
        raise UserError(f"{files.vae} does not say the scale of its latents; use a file exported by seedvr2.train")
    prompt = load_network(files.prompts)("positive").detach()
    return load_network(files.generator), load_network(files.vae), float(facts["scale"]), prompt


def _load_released(files: ModelFiles) -> tuple[nn.Module, nn.Module, float, torch.Tensor]:
    with torch.device("meta"):  # tensors go from the mapped file to the device, without a second copy in memory
        generator = dit_from_released(RELEASED[files.released], None)
    load_released(generator, read_state_dict(files.generator))
    vae = vae_from_released(RELEASED["vae"], read_state_dict(files.vae))
    return generator, vae, RELEASED_SCALE, _released_prompt(files.prompts)


def _released_prompt(path: Path) -> torch.Tensor:
    try:
        prompt = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # every kind of damage has its own exception
        raise UserError(f"{path} cannot be read as a tensor ({error}); fetch it again") from error
    if not (isinstance(prompt, torch.Tensor) and prompt.ndim == 2):
        raise UserError(f"{path} is not a table of text embeddings; fetch it again")
    return prompt


def _bundled() -> ModelFiles:
    files = tuple(BUNDLED / name for name in OWN_FILES)
    if not all(file.is_file() for file in files):
        raise UserError(f"the bundled model is missing from {BUNDLED}; install the package again or give --model")
    return ModelFiles(TINY, "bundled", *files)


def _from_folder(name: str) -> ModelFiles:
    """The generator of a model folder, a stage, or the last stage of a run that has one, and what belongs to it."""
    folder = Path(name).resolve()  # "." has no name and no parent
    places = [folder, folder / "final", *reversed(finished_stages(folder))]
    home = next((place for place in places if (place / GENERATOR_FILE).is_file()), None)
    if home is None:
        raise UserError(f"{folder} holds no finished model; it should contain {', '.join(OWN_FILES)}")
    files = {file: home / file for file in OWN_FILES if (home / file).is_file()}
    is_stage = home.name == "final"
    if is_stage and len(files) < len(OWN_FILES):
        # A stage exports what it trained, so the autoencoder usually lies in an earlier stage of the same run.
        stages = finished_stages(home.parents[1])
        for place in reversed(stages[: stages.index(home)]):
            files |= {file: place / file for file in OWN_FILES if file not in files and (place / file).is_file()}
    for file in OWN_FILES:
        if file not in files:
            raise UserError(f"there is no {file} for the generator in {home}; copy the one it was trained with there")
    stage = home.parent.name if is_stage else home.name
    origin = f"stage {stage}, {home}" if is_stage else f"from {home}"
    return ModelFiles(name, origin, *(files[file] for file in OWN_FILES), steps=trained_steps(stage))


def _in_weights_folder(size: str) -> tuple[Path, ...] | None:
    named = os.environ.get(WEIGHTS_VARIABLE)
    if not named:
        return None
    if not Path(named).is_dir():
        raise UserError(f"${WEIGHTS_VARIABLE} is {named}, which is not a folder; correct or unset it")
    for folder in (Path(named), Path(named) / REPOSITORIES[size].split("/")[1]):
        files = tuple(folder / name for name in RELEASED_FILES[size])
        if all(file.is_file() for file in files):
            return files
    return None


def _in_cache(size: str) -> tuple[Path, ...] | None:
    found = [huggingface_hub.try_to_load_from_cache(REPOSITORIES[size], name) for name in RELEASED_FILES[size]]
    return tuple(map(Path, found)) if all(isinstance(path, str) for path in found) else None


def _missing_released(size: str) -> NoReturn:
    raise UserError(
        f"the released {size} weights are not on this machine; put {', '.join(RELEASED_FILES[size])} of"
        f" huggingface.co/{REPOSITORIES[size]} into a folder and set {WEIGHTS_VARIABLE} to it"
    )
