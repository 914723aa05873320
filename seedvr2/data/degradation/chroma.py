"""Colour at a lower resolution than brightness, as video stores it: chroma subsampling, with misplaced samples."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from seedvr2.data.degradation.draw import Draw, odds_of, span_of

REDUCTIONS = {"4:2:2": (1, 2), "4:2:0": (2, 2), "4:1:1": (1, 4), "4:1:0": (4, 4)}  # vertical, horizontal
OFFSET = np.float32(0.5)


class ChromaSubsampling:
    """Reduce the colour difference planes (BT.601) by area averaging and enlarge them bilinearly.

    `kinds` are the odds of `REDUCTIONS`; `shift` is the range of the colours' displacement in pixels along each axis,
    as left by readers that place the samples wrongly. Brightness stays as it is. Raises UserError for bad values.
    """

    def __init__(
        self,
        probability: float = 1.0,
        kinds: Mapping[str, float] | None = None,
        *,
        shift: Sequence[float] = (0.0, 0.0),
    ):
        self.probability = float(probability)
        self.kinds = odds_of("kinds", {"4:2:0": 1.0} if kinds is None else kinds, tuple(REDUCTIONS))
        self.shift = span_of("shift", shift)

    def __call__(self, clip: np.ndarray, draw: Draw) -> np.ndarray:
        if not draw.happens(self.probability):
            return clip
        kind = draw.choose(self.kinds)
        down, right = draw.uniform(self.shift), draw.uniform(self.shift)
        draw.record.append({"op": "chroma_subsampling", "kind": kind, "down": down, "right": right})
        return np.stack([_subsampled(frame, REDUCTIONS[kind], (down, right)) for frame in clip])


def _subsampled(frame: np.ndarray, reduction: tuple[int, int], shift: tuple[float, float]) -> np.ndarray:
    height, width = frame.shape[:2]
    planes = cv2.cvtColor(np.clip(frame, 0, 1), cv2.COLOR_RGB2YCrCb)
    colour = planes[..., 1:] - OFFSET
    small = (max(width // reduction[1], 1), max(height // reduction[0], 1))
    colour = cv2.resize(cv2.resize(colour, small, interpolation=cv2.INTER_AREA), (width, height))
    if any(shift):
        down, right = shift
        move = np.float32([[1, 0, right], [0, 1, down]])
        colour = cv2.warpAffine(colour, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
    planes[..., 1:] = colour + OFFSET
    return np.clip(cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB), 0, 1)
