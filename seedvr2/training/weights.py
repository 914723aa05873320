"""Weight files: one plain safetensors file per network, with released names and the recipe to build the network
again.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from seedvr2 import config
from seedvr2.errors import UserError
from seedvr2.io.files import whole
from seedvr2.models.codec import RELEASED_SCALE
from seedvr2.models.released import load_released, to_released
from seedvr2.models.weight_files import present, read_embedding, read_state_dict
from seedvr2.objectives.objective import Exported

POSITIVE, NEGATIVE = "pos_emb.pt", "neg_emb.pt"  # released prompt embeddings
# Where the networks of an exported file and their parts are defined; nothing in there reads, writes or runs anything.
_PARTS = ("dit", "layers", "rope", "windows", "vae.autoencoder", "prompts", "discriminator")
BUILDABLE = tuple(f"seedvr2.models.{part}" for part in _PARTS)
LARGEST = 1 << 20  # number in a recipe
_KEY = "seedvr2"  # one metadata entry: the order of several is not reproducible


def export(networks: Mapping[str, Exported], folder: Path, *, main: bool = True) -> None:
    """Write `<name>.safetensors`, float32, for each network into a new folder; the folder appears when all files are
    whole.

    Of several ranks all take part, because each may hold shards, and the main one writes.
    """
    with whole(folder) if main else contextlib.nullcontext(folder) as temporary:
        if main:
            temporary.mkdir()
        for name, exported in networks.items():
            save_network(exported, temporary / f"{name}.safetensors", main=main)


def save_network(exported: Exported, path: Path, *, main: bool = True) -> None:
    """Write one network (the main rank; all take part)."""
    tensors = {}
    for key, value in to_released(exported.network).items():
        value = value.full_tensor() if hasattr(value, "full_tensor") else value  # a DTensor; importing it takes 0.6 s
        if main:
            tensors[key] = value.detach().cpu().float().contiguous()
    if not main:
        return
    metadata = {"recipe": exported.recipe.config, **exported.facts}
    save_tensors(path, tensors, metadata={_KEY: json.dumps(metadata, sort_keys=True)})


def read_metadata(path: Path) -> dict:
    """Recipe and facts of a file written by `export`. Raises UserError for other files."""
    facts = find_metadata(path)
    if facts is None:
        raise UserError(f"weights file {str(path)!r} carries no seedvr2 recipe: use a file exported by seedvr2.train")
    return facts


def find_metadata(path: Path) -> dict | None:
    """The same, or None for a safetensors file that others wrote."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"weights file {str(path)!r} does not exist: check the path")
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get(_KEY)
    except SafetensorError as error:
        raise UserError(
            f"weights file {str(path)!r} is damaged or no safetensors file ({error}): export it again"
        ) from error
    try:
        facts = None if found is None else json.loads(found)
    except (ValueError, RecursionError) as error:
        raise UserError(f"weights file {str(path)!r} has a recipe that cannot be read: export it again") from error
    if not isinstance(facts, dict | None):
        raise UserError(f"weights file {str(path)!r} has a recipe that is no table: export it again")
    return facts


def latent_scale(path: Path) -> float:
    """Latent scale of a VAE file: its own if training measured one, else the released 0.9152."""
    facts = find_metadata(path) if path.suffix == ".safetensors" else None
    return (facts or {}).get("scale", RELEASED_SCALE)


def outline(path: Path) -> nn.Module:
    """The network that a file of `export` holds, on the meta device, without its weights.

    The recipe in the file may name networks of `seedvr2.models` and their parts only, and none larger than the file:
    files come from the internet. Raises UserError otherwise.
    """
    recipe = read_metadata(path).get("recipe")
    with safe_open(path, framework="pt") as file:
        _check_numbers(recipe, len(file.keys()), str(path))
    try:
        with torch.device("meta"):  # nothing that a recipe asks for takes memory
            network = config.build(recipe, str(path), allowed=BUILDABLE)()
    except UserError:
        raise
    except Exception as error:  # a recipe that is not ours fails in ways of its own
        raise UserError(
            f"weights file {str(path)!r} has a recipe that nothing can be built from ({type(error).__name__}: "
            f"{str(error)[:100]}): use a file exported by seedvr2.train"
        ) from error
    if not isinstance(network, nn.Module):
        raise UserError(f"weights file {str(path)!r} has the recipe of something else than a network: export it again")
    return network


def load_network(path: Path) -> nn.Module:
    """The network that a file of `export` holds, with its weights, in fp32 on the CPU; raises UserError as `outline`
    does.
    """
    network = outline(path)
    try:
        load_released(network, {key: value.float() for key, value in read_state_dict(path).items()})
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return network.eval()


def _check_numbers(recipe: object, tensors: int, where: str) -> None:
    """Raise UserError for a size that no real network has, or more layers than the file has tensors."""
    waiting = [(None, recipe)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(name, part) for part in value]
        elif isinstance(value, int | float):
            limit = tensors if "layers" in str(name) else LARGEST
            if not abs(value) <= limit:
                raise UserError(f"weights file {where!r} has a recipe with {name} = {value}: use another file")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of any weights file; the released `pos_emb.pt` brings the prompts of its folder.

    Raises UserError for files that do not exist or hold anything but tensors.
    """
    return read_prompts(path) if path.stem == Path(POSITIVE).stem else read_state_dict(path)


def read_prompts(positive: Path) -> dict[str, Tensor]:
    """Prompts from the released `pos_emb.pt` (n, 5120) and the `neg_emb.pt` beside it; the null prompt is zero."""
    files = {"positive": positive, "negative": present(positive.with_name(NEGATIVE))}
    tables = {kind: read_embedding(path).float() for kind, path in files.items()}
    return tables | {"null": torch.zeros_like(tables["positive"])}


def save_tensors(path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file that others may read, as far as this process lets them read its files.

    Raises OSError if the disk refuses.
    """
    try:
        save_file(dict(tensors), path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)  # the library writes for its owner alone
