"""Checksums of a folder's files: each rank writes those of its own files and checks a share of all."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

SUMS = "sums_{}.json"


def digest(path: Path) -> str:
    """BLAKE2 hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def write_sums(folder: Path, rank: int, files: Iterable[Path]) -> None:
    """Write the hashes of a rank's files."""
    (folder / SUMS.format(rank)).write_text(json.dumps({path.name: digest(path) for path in files}))


def fault_of(folder: Path, rank: int = 0, ranks: int = 1) -> str | None:
    """What is wrong with this rank's share of the files, None if nothing is."""
    sums: dict[str, str] = {}
    for path in sorted(folder.glob(SUMS.format("*"))):
        try:
            sums |= json.loads(path.read_text())
        except (OSError, ValueError):
            return f"{path.name} cannot be read"
    if ".metadata" not in sums:
        return "its checksums are missing"
    for name in sorted(sums)[rank::ranks]:
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if digest(path) != sums[name]:
            return f"{name} has changed since it was written"
    return None
