"""Training samples: a clean clip and its degraded version at the same size, each a pure function of a key."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from seedvr2.data.degradation.pipeline import Degradation
from seedvr2.data.enlarging import enlarged
from seedvr2.data.indexed import IndexClips
from seedvr2.data.shapes import Buckets, Schedule, Shape
from seedvr2.data.source import Source
from seedvr2.errors import UserError
from seedvr2.randomness import Key, numpy_generator

LEAST = 16  # clips of an aspect class, below which they go to the next one


class Pair(NamedTuple):
    """A clean clip and its low-quality version upsampled to the same size: float32 (T,3,H,W) in [-1,1]."""

    hq: Tensor
    lq: Tensor


class Pairs:
    """Clean clips of a source with their degraded versions, in the given shapes.

    Raises UserError for shapes that make no sense (see `Schedule`), sides that are no multiple of the scale, and
    another scale than the degradation's.
    """

    def __init__(self, source: Source, degradation: Degradation, shapes: Sequence[Shape], scale: int = 4):
        self.source, self.degradation = source, degradation
        self.schedule = Schedule(shapes, multiple=int(scale))
        self.shapes, self.shape_of = self.schedule.shapes, self.schedule.shape_of
        if degradation.target_scale != scale:
            raise UserError(f"the scale is {scale}, the degradation's {degradation.target_scale}; make them equal")

    @property
    def failures(self) -> int:
        """Files that could not be read and were passed over so far, in this process."""
        return self.source.failures

    def hq(self, key: Key, shape: Shape | None = None) -> Tensor:
        """The clean clip of `draw` for the same key, without its degradation."""
        return to_tensor(self._clean(key, shape))

    def draw(self, key: Key, shape: Shape | None = None, *, record: list[dict] | None = None) -> Pair:
        """The sample of a key; `shape` may be left out if there is only one.

        `record` receives the drawn parameters of the degradation.
        """
        clean = self._clean(key, shape)
        degraded = self.degradation(clean, numpy_generator(*key, "degradation"), record=record)
        return Pair(to_tensor(clean), upsampled(to_tensor(degraded), clean.shape[1:3]))

    def draws(self, key: Key, shape: Shape, count: int) -> tuple[Tensor, list[Tensor], list[list[dict]]]:
        """The clean clip of a key, `count` low-quality versions of it, and what was drawn for each of them."""
        clean = self._clean(key, shape)
        lqs, records = [], []
        for number in range(count):
            records.append([])
            degraded = self.degradation(clean, numpy_generator(*key, "degradation", number), record=records[-1])
            lqs.append(upsampled(to_tensor(degraded), clean.shape[1:3]))
        return to_tensor(clean), lqs, records

    def _clean(self, key: Key, shape: Shape | None) -> np.ndarray:
        if shape is None:
            assert len(self.shapes) == 1, "several shapes: name the one to draw"
            shape = self.shapes[0]
        clip = self.source.clip(numpy_generator(*key, "clean"), shape.frames, shape.height, shape.width)
        assert clip.shape == (shape.frames, shape.height, shape.width, 3), f"{shape} became {clip.shape}"
        return clip


def upsampled(frames: Tensor, size: Sequence[int]) -> Tensor:
    """Frames (T,3,h,w) in [-1,1] at the size (height, width) by clamped bicubic interpolation."""
    factor = size[0] // frames.shape[2]
    if frames.device.type == "cpu" and tuple(size) == (frames.shape[2] * factor, frames.shape[3] * factor):
        return torch.from_numpy(enlarged(frames.numpy(), factor)).clamp_(-1, 1)
    return interpolate(frames, size=tuple(size), mode="bicubic", antialias=True).clamp(-1, 1)


def to_tensor(clip: np.ndarray) -> Tensor:
    """A clip float32 (T,H,W,3) in [0,1] as float32 (T,3,H,W) in [-1,1]."""
    return torch.from_numpy(np.ascontiguousarray(clip.transpose(0, 3, 1, 2))).mul_(2).sub_(1)


def folder_pairs(
    *, root: str, source: Callable[..., Source], degradation: Degradation, shapes: Sequence[Shape], scale: int = 4
) -> Pairs:
    """Pairs of a source below a folder; the entry that gives configurations a plain `data.root`."""
    return Pairs(source(root), degradation, shapes, scale)


def index_pairs(
    *,
    index: str,
    source: Callable[..., IndexClips],
    degradation: Degradation,
    shapes: Sequence[Shape] | Buckets,
    root: str | None = None,
    scale: int = 4,
) -> Pairs:
    """Pairs of the clips of an index; shares of the aspect classes of `Buckets` are those of its clips."""
    clips = source(index, root=root)
    found = shapes
    if isinstance(shapes, Buckets):
        found = shapes.shapes(lambda frames: clips.shares(frames, shapes.sizes, least=LEAST))
    clips.serve(found)
    return Pairs(clips, degradation, found, scale)
