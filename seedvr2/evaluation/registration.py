"""By how many whole pixels and frames an output is displaced against its ground truth (GT).

Common copies of test sets are shifted by some pixels, and outputs of other programs by a pixel or a frame; each costs
several dB. Candidates come from phase correlation (Kuglin and Hines 1975), limited to low frequencies because outputs
invent the high ones, and the one with the highest correlation of gray values wins; the simplest one if several are as
good, so that a still scene has no displacement in time and nothing is corrected without need.
"""

from collections.abc import Iterable, Iterator
from itertools import islice, product
from typing import NamedTuple

import cv2
import numpy as np

from seedvr2.evaluation.protocol import Triple

LARGEST = 32  # pixels
REACH = 3  # frames
SAMPLES = 5  # frames that are compared
LONGEST = 40  # frames that are read
WINDOW = 768  # pixels per side, around the centre, that are compared
SOFTNESS = 1.0  # pixels: both are blurred by it, against noise
EDGE = 4  # pixels on each side that the blur spoils
BAND = 0.12  # cycles per pixel: width of the low frequencies
AS_GOOD = 1.01  # ratio of errors that decides nothing
CERTAIN = 0.5
AGREEING = 0.8  # share of the compared frames that a displacement has to make better


class Offset(NamedTuple):
    """The output shows at (y + down, x + right) of frame t + frames what the GT shows at (y, x) of frame t.

    confidence: median correlation of gray values after alignment, at most 1; other pictures stay well below 0.5, and a
    picture without content has 0.
    """

    down: int
    right: int
    frames: int
    confidence: float

    @property
    def is_aligned(self) -> bool:
        """Whether nothing is displaced."""
        return (self.down, self.right, self.frames) == (0, 0, 0)

    @property
    def is_certain(self) -> bool:
        """Whether both clips show the same at all; if not, the displacement means nothing."""
        return self.confidence >= CERTAIN


def find_offset(
    prediction_frames: Iterable[np.ndarray],
    gt_frames: Iterable[np.ndarray],
    *,
    largest: int = LARGEST,
    reach: int = REACH,
    longest: int = LONGEST,
) -> Offset:
    """The displacement between two clips of uint8 (H,W,3) frames of one size, from their first `longest` frames.

    Found are shifts up to `largest` pixels and `reach` frames; shorter clips allow fewer. Fractions of a pixel are
    rounded. A clip that only pans evenly leaves the choice between pixels and frames open.
    """
    sides = (prediction_frames, gt_frames)
    made, true = ([frame if frame.ndim == 2 else _gray(frame) for frame in islice(side, longest)] for side in sides)
    count = min(len(made), len(true))
    assert count > 0, "both clips have frames"
    assert made[0].shape == true[0].shape, f"frames differ in size: {made[0].shape} and {true[0].shape}"
    reach = min(reach, (count - 1) // 2)
    largest = min(largest, (min(made[0].shape) - 1) // 4)
    times = np.unique(np.linspace(reach, count - 1 - reach, SAMPLES).round().astype(int))
    errors: dict[tuple[int, int, int], np.ndarray] = {}
    for late in sorted(range(-reach, reach + 1), key=abs):
        pairs = [(made[time + late], true[time]) for time in times]
        guess = _peak(pairs, largest)
        near = {(guess[0] + down, guess[1] + right) for down, right in product((-1, 0, 1), repeat=2)}
        for move in near | {(0, 0)}:
            if max(map(abs, move)) <= largest:
                errors[(*move, late)] = np.array([_error(*pair, move) for pair in pairs])
    still = errors[0, 0, 0]
    moves = {
        move: float(np.median(error))
        for move, error in errors.items()
        if move == (0, 0, 0) or np.mean(error < still) >= AGREEING
    }
    best = min(moves.values())
    good = [move for move, error in moves.items() if error <= AS_GOOD * best + 1e-6]
    chosen = min(good, key=_complexity)
    return Offset(*chosen, confidence=1 - moves[chosen])


def offset_of(triples: Iterable[Triple], *, longest: int = LONGEST) -> Offset:
    """The displacement between prediction and GT of (prediction, gt, lq). Limits: see `find_offset`."""
    pairs = [(_gray(made), _gray(true)) for made, true, _ in islice(triples, longest)]
    return find_offset(*zip(*pairs, strict=True), longest=longest)


def registered(triples: Iterable[Triple], offset: Offset) -> Iterator[Triple]:
    """The triples of (prediction, gt, lq) cut to what prediction and GT both show, in space and time.

    The LQ goes with the GT; it is None after a shift in space, since it cannot be cut by part of a pixel.
    """
    waiting: list[tuple] = []
    for made, true, lq in triples:
        assert true is not None, "registration needs a ground truth"
        here = _cut(made, offset.down, offset.right)
        there = (_cut(true, -offset.down, -offset.right), None if offset.down or offset.right else lq)
        # The one that is ahead waits for the other.
        waiting.append(there if offset.frames >= 0 else (here,))
        if len(waiting) > abs(offset.frames):
            first = waiting.pop(0)
            yield (here, *first) if offset.frames >= 0 else (*first, *there)


def _cut(frame: np.ndarray, down: int, right: int) -> np.ndarray:
    """What is left of a frame when it is moved up and left by a number of pixels, as (H - |down|, W - |right|, …)."""
    height, width = frame.shape[:2]
    rows = slice(max(down, 0), height + min(down, 0))
    columns = slice(max(right, 0), width + min(right, 0))
    return np.ascontiguousarray(frame[rows, columns])


def _gray(frame: np.ndarray) -> np.ndarray:
    top, left = (max(side - WINDOW, 0) // 2 for side in frame.shape[:2])
    gray = cv2.cvtColor(frame[top : top + WINDOW, left : left + WINDOW], cv2.COLOR_RGB2GRAY).astype(np.float32)
    edge = EDGE if min(gray.shape) > 8 * EDGE else 0
    return _inside(cv2.GaussianBlur(gray, (0, 0), SOFTNESS), edge)


def _inside(picture: np.ndarray, edge: int) -> np.ndarray:
    return picture[edge : picture.shape[0] - edge, edge : picture.shape[1] - edge]


def _peak(pairs: list[tuple[np.ndarray, np.ndarray]], largest: int) -> tuple[int, int]:
    """(down, right) at the peak of the phase correlation, summed over pairs of frames."""
    height, width = pairs[0][0].shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    total = np.zeros((height, width // 2 + 1), np.complex64)
    for made, true in pairs:
        a, b = (np.fft.rfft2((frame - frame.mean()) * window) for frame in (made, true))
        cross = a * b.conj()
        total += (cross / (np.abs(cross) + 1e-9)).astype(np.complex64)
    squares = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.rfftfreq(width)[None] ** 2
    surface = np.fft.irfft2(total * np.exp(-squares / (2 * BAND**2)), s=(height, width))
    part = np.roll(surface, (largest, largest), axis=(0, 1))[: 2 * largest + 1, : 2 * largest + 1]
    down, right = np.unravel_index(part.argmax(), part.shape)
    return int(down) - largest, int(right) - largest


def _error(made: np.ndarray, true: np.ndarray, move: tuple[int, int]) -> float:
    """One minus the correlation of the common part of two gray frames after a displacement."""
    a, b = _cut(made, *move), _cut(true, -move[0], -move[1])
    a, b = a - a.mean(), b - b.mean()
    energy = float(np.sqrt((a * a).mean() * (b * b).mean()))
    return 1 - float((a * b).mean()) / energy if energy > 1e-3 else 1.0


def _complexity(move: tuple[int, int, int]) -> tuple[int, int]:
    down, right, late = move
    return (bool(down or right) + bool(late), abs(down) + abs(right) + abs(late))
