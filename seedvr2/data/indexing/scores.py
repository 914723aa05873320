"""Scores of one shot, collected while its frames pass: sharpness, motion, stillness and black bars.

They order and filter clips; none is a measure of quality that a person would sign. Sharpness and bars come from one
frame in twelve at full size, motion from one neighbouring pair in three, stillness from all frames, both at small size.
"""

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np

SMALL_SIDE = 160  # pixels of the longer side of small pictures
EVERY_FULL, EVERY_PAIR = 12, 3  # three meets both kinds of pairs where every frame is doubled
FLOW_SIDE = 32  # pixels; OpenCV's flow ends the process on pictures of 160x30
CELLS = 32  # per side, for stillness
STILL = 2.0  # grey levels by which no cell of a still frame differs from the last one that moved
BLACK = 24  # grey levels of a black row at most, on average
EVEN, CLEAN = 8, 2  # grey levels that nine tenths of a black row span at most: beside the picture, and in most rows
EDGE_STEP, EDGE_SHARE = 6.0, 0.5  # grey levels by which the picture beside a bar is brighter, in this share of it


class Scores(NamedTuple):
    """What is known of a shot beyond its size."""

    sharpness: float  # variance of the Laplacian of the luma, in squared grey levels; median over frames
    motion: float  # mean optical flow per frame in percent of the longer side; mean over pairs; 0 for images
    still: float  # share of frames that equal the last moving one, in [0,1]; 1 for images
    contrast: float  # standard deviation of the luma in grey levels; the largest over frames
    bars: tuple[int, int, int, int]  # black pixels at top, bottom, left, right of the upright picture


class ShotScores:
    """Scores of a shot whose frames are given in order; `add` tells by `wants_full` when it needs a whole picture."""

    def __init__(self) -> None:
        self.frames = 0
        self._sharpness: list[float] = []
        self._contrast: list[float] = []
        self._bars: list[list[Bar]] = []
        self._motion: list[float] = []
        self._last: np.ndarray | None = None  # small luma of the frame before
        self._moved: np.ndarray | None = None  # cells of the last frame that moved
        self._still = 0

    @property
    def wants_full(self) -> bool:
        """Whether the next frame is one of those that are looked at in full size."""
        return self.frames % EVERY_FULL == 0

    def add(self, small: np.ndarray, full: np.ndarray | None) -> None:
        """small: uint8 (h,w,3) RGB with a longer side of SMALL_SIDE; full: upright uint8 (H,W,3) RGB where wanted."""
        luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        cells = cv2.resize(luma, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.float32)
        if self._moved is not None and np.abs(cells - self._moved).max() < STILL:
            self._still += 1
        else:
            self._moved = cells
        if self._last is not None and self.frames % EVERY_PAIR == 1:
            self._motion.append(_flow(self._last, luma))
        if full is not None:
            self._look(cv2.cvtColor(full, cv2.COLOR_RGB2GRAY))
        self._last = luma
        self.frames += 1

    def result(self) -> Scores:
        """The scores of the frames so far; at least one."""
        return Scores(
            sharpness=float(np.median(self._sharpness)),
            motion=float(np.mean(self._motion)) if self._motion else 0.0,
            still=self._still / (self.frames - 1) if self.frames > 1 else 1.0,
            contrast=max(self._contrast),
            bars=tuple(_common(side) for side in zip(*self._bars, strict=True)),
        )

    def _look(self, luma: np.ndarray) -> None:
        self._sharpness.append(float(cv2.Laplacian(luma, cv2.CV_32F).var()))
        self._contrast.append(float(luma.std()))
        self._bars.append(black_bars(luma))


class Bar(NamedTuple):
    """What one side of a picture says about a black bar."""

    rows: int  # that are black, at most half of the picture
    has_edge: bool  # a straight edge follows: dark rows without one are night, not a bar


def black_bars(luma: np.ndarray) -> list[Bar]:
    """The sides top, bottom, left and right of a uint8 (H,W) picture."""
    sides = (luma, luma[::-1], luma.T, luma.T[::-1])
    return [_bar(np.ascontiguousarray(side)) for side in sides]


def _bar(luma: np.ndarray) -> Bar:
    level, rows, spans = luma[0].mean(), 0, []
    for row in luma[: luma.shape[0] // 2]:
        low, high = np.percentile(row, (5, 95))
        if row.mean() > BLACK or abs(row.mean() - level) > EDGE_STEP / 2 or high - low > EVEN:
            break
        rows += 1
        spans.append(high - low)
    if rows == 0 or np.median(spans) > CLEAN:
        return Bar(0, False)
    beside = luma[rows : rows + 4].max(axis=0)  # the first rows of the picture are softened by compression
    return Bar(rows, bool((beside >= level + EDGE_STEP).mean() >= EDGE_SHARE))


def _common(bars: Iterable[Bar]) -> int:
    # The picture of any frame limits a bar; black frames do not, and some frame must show the edge.
    bars = list(bars)
    rows = min(bar.rows for bar in bars)
    return rows if any(bar.has_edge and bar.rows == rows for bar in bars) else 0


def _flow(before: np.ndarray, after: np.ndarray) -> float:
    height, width = before.shape
    below, right = max(0, FLOW_SIDE - height), max(0, FLOW_SIDE - width)
    pair = [cv2.copyMakeBorder(luma, 0, below, 0, right, cv2.BORDER_REPLICATE) for luma in (before, after)]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST).calc(*pair, None)
    return float(np.linalg.norm(flow[:height, :width], axis=-1).mean() * 100 / max(height, width))
