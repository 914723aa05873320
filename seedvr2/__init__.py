"""Train, run and measure SeedVR2: one-step video restoration by diffusion adversarial post-training.

In Python: `from seedvr2 import Restorer; Restorer("tiny").restore(frames)`.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seedvr2.restore.restorer import Restorer as Restorer

__version__ = "0.1.0"

# Huge pages for large CPU tensors (Linux): saves the page faults of every new activation. PyTorch reads it only once,
# so it must be set before torch is imported.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def __getattr__(name: str) -> object:
    if name == "Restorer":  # imported when it is asked for: it brings PyTorch, which takes seconds
        from seedvr2.restore.restorer import Restorer

        return Restorer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
