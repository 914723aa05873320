"""What workers do in tests: they sleep, crash, hang and raise as they are told."""

import os
import time
from pathlib import Path

from seedvr2.data.indexing.probe import Facts, probe


def act(action: str, number: int, *, beat) -> tuple[int, int]:
    """The number squared and the process, unless the action prevents it."""
    if action == "crash":
        os._exit(3)
    if action == "hang":
        time.sleep(600)
    if action == "raise":
        raise EOFError(number)
    if action == "slow":
        for _ in range(40):
            time.sleep(0.1)
            beat()
    return number**2, os.getpid()


def probe_or_die(path: Path, kind: str, *, beat) -> Facts:
    """Like `probe`, with a decoder that does not survive some names."""
    if path.stem in ("crash", "hang"):
        act(path.stem, 0, beat=beat)
    return probe(path, kind, beat=beat)
