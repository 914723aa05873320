"""Clips that take long, and a process that waits for them: `python -m tests.data.slow MARK [override ...]`.

With overrides it is a run that trains on them, else it draws clips that never come.
"""

import functools
import sys
import time
from pathlib import Path

import numpy as np

from seedvr2 import train
from seedvr2.data.degradation.pipeline import Degradation
from seedvr2.data.degradation.resize import TargetResize
from seedvr2.data.loader import batches
from seedvr2.data.pairs import Pairs
from seedvr2.data.procedural import ProceduralClips
from seedvr2.data.shapes import Shape


class SlowClips(ProceduralClips):
    """Each takes `delay` seconds, during which the file `mark` exists."""

    def __init__(self, delay: float, mark: str):
        super().__init__()
        self.delay, self.mark = delay, Path(mark)

    def clip(self, rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
        """A clip, later."""
        self.mark.touch()
        time.sleep(self.delay)
        return super().clip(rng, frames, height, width)


def stuck(mark: str) -> Pairs:
    """Pairs of clips that never come."""
    return Pairs(SlowClips(120, mark), Degradation([TargetResize()]), [Shape(1, 16, 16, batch=1)])


def slowed(make, mark: str):
    """A constructor of pairs whose clips are slow ones."""

    def build(self, *arguments, **settings) -> None:
        make(self, *arguments, **settings)
        self.source = SlowClips(2, mark)

    return functools.wraps(make)(build)


if __name__ == "__main__":
    mark, *overrides = sys.argv[1:]
    if overrides:
        Pairs.__init__ = slowed(Pairs.__init__, mark)
        train.main(overrides)
    else:
        next(batches(stuck(mark), seed=0, stage="x", start=0, stop=9, positions=[0], workers=2))
