"""Resizing by a random factor, and to the size that the low-quality clip must have.

All frames of a clip share one size and one interpolation; drifting sizes would be undone by the next video codec.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from torch import Tensor

from seedvr2.data.degradation import tensors
from seedvr2.data.degradation.draw import Clip, Draw, odds_of, span_of

INTERPOLATIONS = {"bilinear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA, "bicubic": cv2.INTER_CUBIC}
MODES = ("up", "down", "keep")
EQUAL_ODDS = dict.fromkeys(INTERPOLATIONS, 1.0)


class RandomResize:
    """Scale up, down or not at all, relative to the current size; new sizes are even and at least `minimum` pixels."""

    takes_tensors = True

    def __init__(
        self,
        modes: Mapping[str, float],
        *,
        up: Sequence[float] = (1.0, 1.5),
        down: Sequence[float] = (0.15, 1.0),
        interpolations: Mapping[str, float] | None = None,
        minimum: int = 4,
    ):
        self.modes = odds_of("modes", modes, MODES)
        self.spans = {"up": span_of("up", up), "down": span_of("down", down), "keep": (1.0, 1.0)}
        self.interpolations = odds_of("interpolations", interpolations or EQUAL_ODDS, tuple(INTERPOLATIONS))
        self.minimum = int(minimum)

    def __call__(self, clip: Clip, draw: Draw) -> Clip:
        mode = draw.choose(self.modes)
        factor = draw.uniform(self.spans[mode])
        interpolation = draw.choose(self.interpolations)
        size = tuple(max(2 * int(side * factor / 2), self.minimum) for side in clip.shape[1:3])
        draw.record.append({"op": "resize", "mode": mode, "factor": factor, "size": size, "by": interpolation})
        return resized(clip, size, interpolation=interpolation)


class TargetResize:
    """Scale to the target size of the degradation."""

    takes_tensors = True

    def __init__(self, interpolations: Mapping[str, float] | None = None):
        self.interpolations = odds_of("interpolations", interpolations or EQUAL_ODDS, tuple(INTERPOLATIONS))

    def __call__(self, clip: Clip, draw: Draw) -> Clip:
        interpolation = draw.choose(self.interpolations)
        draw.record.append({"op": "target_resize", "size": draw.target, "by": interpolation})
        return resized(clip, draw.target, interpolation=interpolation)


def resized(clip: Clip, size: tuple[int, int], *, interpolation: str) -> Clip:
    """The (T,H,W,3) clip at (height, width), frame by frame; bicubic may leave [0,1]."""
    if clip.shape[1:3] == tuple(size):
        return clip
    if isinstance(clip, Tensor):
        return tensors.resized(clip, size, interpolation=interpolation)
    height, width = size
    flag = INTERPOLATIONS[interpolation]
    result = np.empty((len(clip), height, width, clip.shape[3]), clip.dtype)
    for frame, target in zip(clip, result, strict=True):
        cv2.resize(frame, (width, height), dst=target, interpolation=flag)
    return result
