"""Interlaced video shown as frames: what cameras that record every other line leave behind after deinterlacing."""

from collections.abc import Mapping

import numpy as np

from seedvr2.data.degradation.draw import Draw, odds_of

KINDS = ("weave", "bob", "blend")


class Interlace:
    """Keep one field (every other line) per moment and rebuild frames from fields in one of three ways.

    `weave` puts lines of the next frame between those of this one, so that motion combs; `bob` interpolates the missing
    lines from their neighbours, which flickers from frame to frame because fields alternate; `blend` averages the two
    fields, so that motion doubles. `kinds` are their odds; which field comes first is drawn per clip. The last frame
    has no successor and is woven with itself.
    """

    def __init__(self, probability: float = 1.0, kinds: Mapping[str, float] | None = None):
        self.probability = float(probability)
        self.kinds = odds_of("kinds", dict.fromkeys(KINDS, 1.0) if kinds is None else kinds, KINDS)

    def __call__(self, clip: np.ndarray, draw: Draw) -> np.ndarray:
        if not draw.happens(self.probability):
            return clip
        kind = draw.choose(self.kinds)
        first = int(draw.rng.integers(2))
        draw.record.append({"op": "interlace", "kind": kind, "first_line": first})
        if kind == "bob":
            fields = [_only(frame, (first + time) % 2) for time, frame in enumerate(clip)]
            return np.stack(fields)
        following = np.concatenate([clip[1:], clip[-1:]])
        if kind == "weave":
            woven = clip.copy()
            woven[:, 1 - first :: 2] = following[:, 1 - first :: 2]
            return woven
        pairs = zip(clip, following, strict=True)
        return np.stack([(_only(frame, first) + _only(after, 1 - first)) / 2 for frame, after in pairs])


def _only(frame: np.ndarray, parity: int) -> np.ndarray:
    # The frame rebuilt from its lines parity, parity + 2, ...; the lines between are the mean of their neighbours.
    lines = np.arange(len(frame))
    kept = lines[parity::2]
    if not len(kept):
        return frame
    above = np.clip((lines - parity) // 2, 0, len(kept) - 1)
    below = np.clip((lines - parity + 1) // 2, 0, len(kept) - 1)
    return (frame[kept[above]] + frame[kept[below]]) / 2
