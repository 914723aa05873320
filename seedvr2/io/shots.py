"""Shot changes of a video while it streams: cheap, without weights, with a delay of three frames.

A cut lies between two frames that differ clearly more than any other neighbours among the last four and the next four
frames. Hence a flash or a torn frame is no cut (the picture comes back as suddenly), and neither is a fast pan (its own
frames differ as much), even with every frame doubled. Dissolves and fades are not found; neither are shots under four
frames, except at the end of the stream, where fewer frames must differ the more.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import TypeVar

import cv2
import numpy as np

SIDE = 32  # cells per side of the picture that is compared
REACH = 4  # frames on either side of a possible cut, and the shortest shot but the last
FLOOR = 0.05  # least mean difference across a cut, of a range of 1
CONTRAST = 1.8  # least ratio of the difference across a cut to the largest between other neighbours

Item = TypeVar("Item")


def mark_cuts(
    frames: Iterable[Item], *, picture: Callable[[Item], np.ndarray] = lambda frame: frame
) -> Iterator[tuple[Item, bool]]:
    """Yield every frame with whether it begins a shot; the first one does.

    `picture` gives the uint8 (H,W,3) picture of an item, of any size; a change of its shape is a cut. At most four
    items are held at a time, so a stream of any length passes.
    """
    before: deque[np.ndarray] = deque(maxlen=REACH)
    after: deque[tuple[Item, np.ndarray, tuple[int, ...]]] = deque()
    shape = None

    def release() -> tuple[Item, bool]:
        nonlocal shape
        item, cells, size = after[0]
        begins = size != shape or is_cut(list(before), [cells for _, cells, other in after if other == size])
        if begins:
            before.clear()
        after.popleft()
        before.append(cells)
        shape = size
        return item, begins

    for item in frames:
        image = picture(item)
        after.append((item, thumbnail(image), image.shape))
        if len(after) == REACH:
            yield release()
    while after:
        yield release()


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """Means of a grid of cells of a uint8 (H,W,3) picture, float32 (SIDE,SIDE,3) in [0,1]."""
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def is_cut(before: list[np.ndarray], after: list[np.ndarray]) -> bool:
    """Whether a shot ends with the thumbnails `before` and another begins with `after`: REACH each, or fewer after."""
    step = _difference(before[-1], after[0]) if len(before) == REACH else 0.0
    if step < FLOOR:
        return False  # nearly every frame ends here
    others = [_difference(*pair) for side in (before, after) for pair in pairwise(side)]
    return step >= CONTRAST * (REACH / len(after)) ** 0.5 * max(others)


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())
