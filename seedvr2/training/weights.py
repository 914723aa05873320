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
from torch.distributed.tensor import DTensor

from seedvr2 import config
from seedvr2.errors import UserError
from seedvr2.io.files import whole
from seedvr2.models.released import load_released, read_state_dict, to_released
from seedvr2.objectives.objective import Exported

POSITIVE, NEGATIVE = "pos_emb.pt", "neg_emb.pt"  # released prompt embeddings
_KEY = "seedvr2"  # one metadata entry: the order of several is not reproducible


def export(
    networks: Mapping[str, Exported], folder: Path, *, dtype: torch.dtype = torch.float32, main: bool = True
) -> None:
    """Write `<name>.safetensors` for each network into a new folder; the folder appears when all files are whole.

    Of several ranks all take part, because each may hold shards, and the main one writes.
    """
    with whole(folder) if main else contextlib.nullcontext(folder) as temporary:
        if main:
            temporary.mkdir()
        for name, exported in networks.items():
            save_network(exported, temporary / f"{name}.safetensors", dtype=dtype, main=main)


def save_network(
    exported: Exported, path: Path, *, dtype: torch.dtype = torch.float32, main: bool = True
) -> None:
    """Write one network (the main rank; all take part). RoPE frequencies stay in fp32 whatever the type."""
    tensors = {}
    for key, value in to_released(exported.network).items():
        value = value.full_tensor() if isinstance(value, DTensor) else value
        if main:
            kept = torch.float32 if key.endswith("rope.freqs") else dtype
            tensors[key] = value.detach().cpu().to(kept).contiguous()
    if not main:
        return
    metadata = {"recipe": exported.recipe.config, **exported.facts}
    save_tensors(path, tensors, metadata={_KEY: json.dumps(metadata, sort_keys=True)})


def read_metadata(path: Path) -> dict:
    """Recipe and facts of a file written by `export`. Raises UserError for other files."""
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
    if found is None:
        raise UserError(f"weights file {str(path)!r} carries no seedvr2 recipe: use a file exported by seedvr2.train")
    return json.loads(found)


def outline(path: Path) -> nn.Module:
    """The network that a file of `export` holds, on the meta device, without its weights.

    The recipe in the file may name parts of `seedvr2.models` only: files come from the internet. Raises UserError
    otherwise.
    """
    recipe = config.build(read_metadata(path)["recipe"], str(path), allowed=("seedvr2.models.",))
    with torch.device("meta"):
        return recipe()


def outline(path: Path) -> nn.Module:
    """The network that a file of `export` holds, on the meta device, without its weights.

    The recipe in the file may name parts of `seedvr2.models` only: files come from the internet. Raises UserError
    otherwise.
    """
    recipe = config.build(read_metadata(path)["recipe"], str(path), allowed=("seedvr2.models.",))
    with torch.device("meta"):
        return recipe()


def load_network(path: Path) -> nn.Module:
    """The network that a file of `export` holds, with its weights, in fp32 on the CPU. Raises UserError as `outline`."""
    network = outline(path)
    load_released(network, {key: value.float() for key, value in read_state_dict(path).items()})
    return network.eval()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of any weights file; the released `pos_emb.pt` brings the prompts of its folder.

    Raises UserError for files that do not exist or hold anything but tensors.
    """
    return read_prompts(path) if path.name == POSITIVE else read_state_dict(path)


def read_prompts(positive: Path) -> dict[str, Tensor]:
    """Prompts from the released `pos_emb.pt` (n, 5120) and the `neg_emb.pt` beside it; the null prompt is zero."""
    tables = {}
    for kind, path in {"positive": positive, "negative": positive.with_name(NEGATIVE)}.items():
        if not path.is_file():
            raise UserError(f"prompt embedding {str(path)!r} does not exist: it comes with the released weights")
        try:
            tables[kind] = torch.load(path, map_location="cpu", weights_only=True).float()
        except Exception as error:  # every kind of damage has its own exception
            raise UserError(f"prompt embedding {str(path)!r} cannot be read ({error}): fetch it again") from error
    return tables | {"null": torch.zeros_like(tables["positive"])}


def save_tensors(path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file that others may read, as far as this process lets them read its files."""
    save_file(dict(tensors), path, metadata=metadata)
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)  # the library writes for its owner alone
