"""Sizes of samples, and which of them a step takes: buckets of frames, height and width, with a budget of tokens."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seedvr2.errors import UserError
from seedvr2.randomness import numpy_generator

SIDE = 16  # pixels of a video token on each side, of which sides of buckets are multiples
TIME = 4  # frames of a video token; the first frame of a clip has tokens of its own
ASPECTS = ("9:16", "3:4", "1:1", "4:3", "16:9", "21:9")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shape:
    """A bucket of samples: their size in pixels, its share of the steps, and the global batch it is trained with.

    It takes part in the steps from `from_step` up to (not with) `until_step` of a stage, None: to the end. The shares
    of those that take part count.
    """

    frames: int
    height: int
    width: int
    share: float = 1.0
    batch: int = 1
    from_step: int = 0
    until_step: int | None = None

    def active(self, step: int) -> bool:
        """Whether it takes part in a step of its stage."""
        return self.from_step <= step and (self.until_step is None or step < self.until_step)

    @property
    def size(self) -> tuple[int, int, int]:
        """(frames, height, width)."""
        return self.frames, self.height, self.width


@dataclass(frozen=True)
class Length:
    """Clips of `frames` frames, with their share of the steps and the steps they take part in (see `Shape`)."""

    frames: int
    share: float = 1.0
    from_step: int = 0
    until_step: int | None = None


class Buckets:
    """Shapes of about one area, for every length and aspect class, with batches that hold about one number of tokens.

    lengths: see `Length`. tokens: video tokens of a global batch (a token is 4 frames of 16 x 16 pixels). area: pixels
    of a frame. aspects: classes width:height. multiple: of which batches are multiples (data ranks x accumulate).
    Raises UserError for aspects that are no ratios and for budgets that do not hold `multiple` clips.
    """

    def __init__(
        self,
        lengths: Sequence[Length],
        *,
        tokens: int,
        area: int = 1280 * 720,
        aspects: Sequence[str] = ASPECTS,
        multiple: int = 1,
    ):
        self.lengths, self.tokens, self.multiple = tuple(lengths), int(tokens), int(multiple)
        self.aspects = {name: _ratio(name) for name in aspects}
        if self.tokens < 1 or area < SIDE**2 or self.multiple < 1 or not self.aspects or not self.lengths:
            raise UserError("buckets need lengths, aspects, and tokens, area (at least 256) and multiple above 0")
        self.sizes = {name: _sides(area, ratio) for name, ratio in self.aspects.items()}

    def shapes(self, shares: Callable[[int], Mapping[str, float]] | None = None) -> list[Shape]:
        """The shapes; `shares` tells the share of each aspect class among clips of a number of frames.

        Classes with a share of zero are left out, lengths without any other with a warning; None: all classes count
        alike.
        """
        found = []
        for length in self.lengths:
            parts = shares(length.frames) if shares else dict.fromkeys(self.aspects, 1.0)
            total = sum(parts.values())
            if not total:
                _log.warning("no clip is long and large enough for %d frames: that length is left out", length.frames)
            for name in (name for name, part in parts.items() if part > 0):
                size = (length.frames, *self.sizes[name])
                steps = {"from_step": length.from_step, "until_step": length.until_step}
                found.append(Shape(*size, length.share * parts[name] / total, self._batch(*size), **steps))
        return found

    def _batch(self, frames: int, height: int, width: int) -> int:
        each = math.ceil((frames - 1) / TIME + 1) * (height // SIDE) * (width // SIDE)
        batch = self.tokens // each // self.multiple * self.multiple
        if not batch:
            raise UserError(
                f"tokens is {self.tokens}, but {self.multiple} clips of {frames} x {height} x {width} have "
                f"{self.multiple * each}: give more tokens, a smaller area or shorter lengths"
            )
        return batch


class Schedule:
    """Which shape each step of a stage has: a function of (seed, stage, step) alone.

    Raises UserError if there are no shapes, shares or sizes that make no sense, or a step without a shape.
    """

    def __init__(self, shapes: Sequence[Shape], *, multiple: int = 1):
        """multiple: of which sides must be multiples."""
        self.shapes = tuple(shapes)
        if not self.shapes:
            raise UserError("shapes is empty; give at least one shape of frames, height and width")
        for shape in self.shapes:
            if shape.share <= 0 or min(*shape.size, shape.batch) < 1:
                raise UserError(f"{shape} is not a sample shape; give sizes of at least 1 and a positive share")
            if shape.height % multiple or shape.width % multiple:
                raise UserError(f"{shape} has sides that are not multiples of the scale {multiple}; change them")
            if shape.from_step < 0 or (shape.until_step is not None and shape.until_step <= shape.from_step):
                raise UserError(f"{shape} takes part in no step; give from_step >= 0 and a larger until_step")
        edges = {edge for shape in self.shapes for edge in (0, shape.from_step, shape.until_step) if edge is not None}
        if idle := [edge for edge in sorted(edges) if not any(shape.active(edge) for shape in self.shapes)]:
            raise UserError(f"no shape takes part in step {idle[0]}; let from_step and until_step of shapes meet")

    def shape_of(self, seed: int, stage: str, step: int) -> Shape:
        """The shape of all samples of a step, drawn by the shares; the same on every machine."""
        active = [shape for shape in self.shapes if shape.active(step)]
        shares = np.array([shape.share for shape in active])
        index = numpy_generator(seed, stage, step, "shape").choice(len(shares), p=shares / shares.sum())
        return active[int(index)]


def nearest_ratio(height: np.ndarray, width: np.ndarray, sizes: Sequence[tuple[int, int]]) -> np.ndarray:
    """For pictures of some heights and widths, the number of the size (height, width) nearest in aspect ratio."""
    ratios = np.log([size[1] / size[0] for size in sizes])
    return np.abs(np.log(width / height)[:, None] - ratios[None]).argmin(axis=1)


def _ratio(name: str) -> float:
    try:
        width, height = (float(part) for part in name.split(":"))
        if not (width > 0 and height > 0):
            raise ValueError
    except ValueError:
        raise UserError(f"aspects has the entry {name!r}: give ratios of width to height such as 16:9") from None
    return width / height


def _sides(area: int, ratio: float) -> tuple[int, int]:
    # (height, width) of about the area and ratio
    height = math.sqrt(area / ratio)
    return tuple(max(SIDE, SIDE * round(side / SIDE)) for side in (height, height * ratio))
