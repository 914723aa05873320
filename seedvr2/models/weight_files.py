"""Files of tensors, whoever wrote them: read without running any code of theirs, and unwrapped to a flat table.

What a file is shows in its first bytes, so a safetensors file under the name of a .pth is read as well.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from seedvr2.errors import UserError

# Entries under which training code keeps a network, the average of its weights first.
WRAPPERS = ("ema", "ema_state_dict", "params_ema", "state_dict", "model", "generator", "module", "params")
PREFIXES = ("module.", "_orig_mod.", "model.", "ema.", "ema_model.", "generator.", "dit.", "diffusion_model.")
DEPTH = 4  # wrappers around a table
_HEAD = 64  # bytes that tell what a file is


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a `.safetensors`, `.pth` or `.pt` file, mapped into memory where its format allows it.

    Wrappers such as {"ema": ...} and prefixes such as `module.` that all names share are taken off. Raises UserError
    for a file that is damaged, holds code, or is no table of tensors.
    """
    found = read_tensors(path)
    for _ in range(DEPTH):
        if _is_table(found):
            return _without_prefixes(found)
        if not isinstance(found, Mapping):
            break
        found = next((found[name] for name in WRAPPERS if isinstance(found.get(name), Mapping)), None)
    raise UserError(f"{str(path)!r} is not a table of tensors by name: export the bare state dict of the network")


def present(path: Path) -> Path:
    """The file, or if it is not there the one of the same name that ends in .safetensors, if that is."""
    other = path.with_suffix(".safetensors")
    return other if other.is_file() and not path.is_file() else path


def read_embedding(path: Path) -> Tensor:
    """A text embedding (tokens, width): the only tensor of a file. Raises UserError for any other file."""
    found = read_tensors(path)
    if isinstance(found, Mapping) and len(found) == 1:
        found = next(iter(found.values()))
    if not (isinstance(found, Tensor) and found.ndim == 2 and found.is_floating_point()):
        raise UserError(f"{str(path)!r} is not one table (tokens, width) of text embeddings: fetch it again")
    if not found.isfinite().all():
        raise UserError(f"{str(path)!r} holds values that are not finite numbers: fetch it again")
    return found


def read_tensors(path: Path) -> object:
    """What a file of tensors holds, in whatever nesting of tables. Raises UserError for code and for damage."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"weights file {str(path)!r} does not exist: check the path")
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"version https://git-lfs"):
        raise UserError(
            f"{str(path)!r} is a pointer of Git LFS, not the weights: run `git lfs pull`, or fetch the file"
        )
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise UserError(f"{str(path)!r} is a web page, not weights: fetch the file itself")
    try:
        if head[8:9] == b"{" or path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                names = file.keys()
                return {name: file.get_tensor(name) for name in names}
        is_archive = head.startswith(b"PK")  # files of before PyTorch 1.6 cannot be mapped
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except Exception as error:  # every reader has its own exceptions for damaged files
        raise UserError(_sentence(path, error)) from error


def _sentence(path: Path, error: Exception) -> str:
    if isinstance(error, SafetensorError | RuntimeError | EOFError):
        reason = re.split(r"\. |\n", str(error))[0] or "it ends too early"
        return f"{str(path)!r} cannot be read, it is cut off or damaged ({reason}): fetch it again"
    code = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    held = f"holds code besides tensors ({code[1]})" if code else "is no file of plain tensors"
    return f"{str(path)!r} {held} and was not read: use a file of tensors only"


def _is_table(found: object) -> bool:
    return isinstance(found, Mapping) and all(
        isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided
        for name, value in found.items()
    )


def _without_prefixes(table: Mapping[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((p for p in PREFIXES if table and all(name.startswith(p) for name in table)), None):
        table = {name.removeprefix(prefix): value for name, value in table.items()}
    return dict(table)
