"""SHA-256 of weight files, which are too large to read again for every run."""

import re
from pathlib import Path

from seedvr2.io.cache import Kept
from seedvr2.restore.journal import hash_of

LARGE = 64 << 20  # bytes from which a hash is worth remembering


def file_hash(path: Path) -> str:
    """SHA-256 of a file. A large one is read once: the Hugging Face cache names it by its hash, and others are
    remembered by path, size and time in the user's cache folder.
    """
    real = path.resolve()
    if real.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", real.name):
        return real.name
    status = real.stat()
    if status.st_size < LARGE:
        return hash_of(real)
    known, key = Kept("weights.json"), f"{real} {status.st_size} {status.st_mtime_ns}"
    if key not in known:
        known.setdefault(key, hash_of(real))
    return known[key]
