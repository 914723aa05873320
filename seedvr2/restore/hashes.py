"""SHA-256 of weight files, which are too large to read again for every run."""

import contextlib
import json
import os
import re
from pathlib import Path

from seedvr2.io.files import whole
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
    key, memory = f"{real} {status.st_size} {status.st_mtime_ns}", _memory()
    known = _known(memory)
    if key not in known:
        known = {**_known(memory), key: hash_of(real)}
        with contextlib.suppress(OSError), whole(memory) as temporary:  # without a cache folder it is read again
            temporary.write_text(json.dumps(known, indent=1))
    return known[key]


def _memory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seedvr2" / "weights.json"


def _known(memory: Path) -> dict[str, str]:
    try:
        return json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}
