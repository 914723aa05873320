"""Weights between .pth and .safetensors: `python -m seedvr2.convert in.pth out.safetensors`, or the other way.

Names, values and types of the tensors stay as they are, bit for bit; `--dtype bf16` halves a file of fp32.
"""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from seedvr2.errors import Parser, UserError, main_guard, orderly_termination
from seedvr2.io.files import disk_errors, whole
from seedvr2.models.weight_files import read_embedding, read_state_dict, read_tensors
from seedvr2.restore.journal import hash_of
from seedvr2.training.weights import save_tensors

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SUFFIXES = (".safetensors", ".pth", ".pt")
FULL = "rope.freqs"  # ends the names of what loses too much in half precision
BARE = "embedding"  # the name of a tensor that has none, as in pos_emb.pt


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; mistakes of the user end with one sentence on stderr and exit code 2."""
    with main_guard("seedvr2.convert"), orderly_termination():
        arguments = parser().parse_args(argv)
        check_paths(arguments.source, arguments.output, overwrite=arguments.overwrite)
        is_bare = isinstance(read_tensors(arguments.source), Tensor)
        tensors = {BARE: read_embedding(arguments.source)} if is_bare else read_state_dict(arguments.source)
        if arguments.dtype is not None:
            tensors = {name: as_dtype(name, value, DTYPES[arguments.dtype]) for name, value in tensors.items()}
        metadata = metadata_of(arguments.source)
        write(tensors, arguments.output, metadata=metadata)
        if metadata and arguments.output.suffix != ".safetensors":
            print(f"left out, because {arguments.output.suffix} has no place for it: metadata {', '.join(metadata)}")
        print(account(tensors, arguments.output))


def parser() -> argparse.ArgumentParser:
    """The command line's arguments."""
    result = Parser(prog="python -m seedvr2.convert", description=__doc__.split("\n")[0])
    result.add_argument("source", type=Path, help=f"weights, {', '.join(SUFFIXES)}")
    result.add_argument("output", type=Path, help="its ending chooses the format")
    result.add_argument("--dtype", choices=tuple(DTYPES), help="of the numbers in the output (default: as they are)")
    result.add_argument("--overwrite", action="store_true", help="replace an existing output")
    return result


def check_paths(source: Path, output: Path, *, overwrite: bool) -> None:
    """Raise UserError for an output that cannot be written, exists, or has an ending that says no format."""
    if output.suffix not in SUFFIXES:
        raise UserError(f"{output} does not end in one of {', '.join(SUFFIXES)}; its ending chooses the format")
    if not output.parent.is_dir():
        raise UserError(f"{output.parent} does not exist; make that folder first")
    if output.exists() and source.exists() and output.samefile(source):
        raise UserError(f"{output} is the input itself; give another output")
    if output.exists() and not overwrite:
        raise UserError(f"{output} exists already; choose another name or use --overwrite")


def as_dtype(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor in another floating-point type; RoPE frequencies stay in fp32. Raises UserError for an overflow."""
    if not value.is_floating_point() or name.endswith(FULL):
        return value
    converted = value.to(dtype)
    if converted.isinf().any() and not value.isinf().any():
        raise UserError(f"{name} has values beyond the range of {dtype}; use --dtype bf16 or leave --dtype out")
    return converted


def metadata_of(source: Path) -> dict[str, str] | None:
    """What a safetensors file says about its tensors; files of PyTorch say nothing."""
    with open(source, "rb") as file:
        if file.read(9)[8:] != b"{":
            return None
    with safe_open(source, framework="pt") as file:
        return file.metadata()


def write(tensors: dict[str, Tensor], output: Path, *, metadata: dict[str, str] | None) -> None:
    """Write a file that appears under its name when it is whole; a .pth file has no place for metadata."""
    try:
        with disk_errors(output), whole(output) as temporary:
            if output.suffix == ".safetensors":
                save_tensors(temporary, unshared(tensors), metadata=metadata)
            else:
                torch.save(tensors[BARE] if list(tensors) == [BARE] else tensors, temporary)
    except (SafetensorError, RuntimeError) as error:  # how the two libraries report a full disk
        raise UserError(f"{output} cannot be written ({error}); make room there or choose another place") from error


def unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors none of which lies in the memory of another, as safetensors needs them; shared ones are copied."""
    taken: set[int] = set()
    result = {}
    for name, value in tensors.items():
        storage = value.untyped_storage()
        is_alone = storage.data_ptr() not in taken and value.is_contiguous()
        result[name] = value if is_alone else value.clone(memory_format=torch.contiguous_format)
        taken.add(storage.data_ptr())
    return result


def account(tensors: dict[str, Tensor], output: Path) -> str:
    """What was written, in a few lines: tensors, numbers, types and hashes."""
    numbers = sum(value.numel() for value in tensors.values())
    types = ", ".join(sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values()}))
    size = output.stat().st_size / 1e6
    return (
        f"{output}: {len(tensors)} tensors, {numbers:,} numbers, {types}, {size:,.1f} MB\n"
        f"sha256 of the file    {hash_of(output)}\nsha256 of the tensors {tensor_hash(tensors)}"
    )


def tensor_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes in the order of names: the same in every file format."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(memoryview(value.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


if __name__ == "__main__":
    main()
