"""Training samples: a clean clip and its degraded version at the same size, each a pure function of a key."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from seedvr2.data.degradation.pipeline import Degradation
from seedvr2.errors import UserError
from seedvr2.randomness import Key, numpy_generator


class Source(Protocol):
    """A collection of clean clips."""

    def clip(self, rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
        """A random clip, float32 (frames, height, width, 3) RGB in [0,1], drawn from the generator alone."""
        ...


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


class Pair(NamedTuple):
    """A clean clip and its low-quality version upsampled to the same size: float32 (T,3,H,W) in [-1,1]."""

    hq: Tensor
    lq: Tensor


class Pairs:
    """Clean clips of a source with their degraded versions, in the given shapes.

    Raises UserError if there are no shapes, shares that are not positive, sides that are no multiple of the scale, or a
    step without a shape.
    """

    def __init__(self, source: Source, degradation: Degradation, shapes: Sequence[Shape], scale: int = 4):
        self.source, self.degradation, self.shapes, self.scale = source, degradation, tuple(shapes), int(scale)
        if not self.shapes:
            raise UserError("shapes is empty; give at least one shape of frames, height and width")
        for shape in self.shapes:
            if shape.share <= 0 or min(shape.frames, shape.height, shape.width, shape.batch) < 1:
                raise UserError(f"{shape} is not a sample shape; give sizes of at least 1 and a positive share")
            if shape.height % self.scale or shape.width % self.scale:
                raise UserError(f"{shape} has sides that are not multiples of the scale {self.scale}; change them")
            if shape.from_step < 0 or (shape.until_step is not None and shape.until_step <= shape.from_step):
                raise UserError(f"{shape} takes part in no step; give from_step >= 0 and a larger until_step")
        edges = {edge for shape in self.shapes for edge in (0, shape.from_step, shape.until_step) if edge is not None}
        if idle := [edge for edge in sorted(edges) if not any(shape.active(edge) for shape in self.shapes)]:
            raise UserError(f"no shape takes part in step {idle[0]}; let from_step and until_step of shapes meet")
        if degradation.target_scale != self.scale:
            raise UserError(f"the scale is {scale}, the degradation's {degradation.target_scale}; make them equal")

    def shape_of(self, seed: int, stage: str, step: int) -> Shape:
        """The shape of all samples of a step, drawn by the shares; the same on every machine."""
        active = [shape for shape in self.shapes if shape.active(step)]
        shares = np.array([shape.share for shape in active])
        index = numpy_generator(seed, stage, step, "shape").choice(len(shares), p=shares / shares.sum())
        return active[int(index)]

    def hq(self, key: Key, shape: Shape | None = None) -> Tensor:
        """The clean clip of `draw` for the same key, without its degradation."""
        return _to_tensor(self._clean(key, shape))

    def draw(self, key: Key, shape: Shape | None = None, *, record: list[dict] | None = None) -> Pair:
        """The sample of a key; `shape` may be left out if there is only one.

        `record` receives the drawn parameters of the degradation.
        """
        clean = self._clean(key, shape)
        degraded = self.degradation(clean, numpy_generator(*key, "degradation"), record=record)
        return Pair(_to_tensor(clean), upsampled(_to_tensor(degraded), clean.shape[1:3]))

    def _clean(self, key: Key, shape: Shape | None) -> np.ndarray:
        if shape is None:
            assert len(self.shapes) == 1, "several shapes: name the one to draw"
            shape = self.shapes[0]
        clip = self.source.clip(numpy_generator(*key, "clean"), shape.frames, shape.height, shape.width)
        assert clip.shape == (shape.frames, shape.height, shape.width, 3), f"{shape} became {clip.shape}"
        return clip


def upsampled(frames: Tensor, size: Sequence[int]) -> Tensor:
    """Frames (T,3,h,w) in [-1,1] at the size (height, width) by clamped bicubic interpolation."""
    return interpolate(frames, size=tuple(size), mode="bicubic", antialias=True).clamp(-1, 1)


def _to_tensor(clip: np.ndarray) -> Tensor:
    # (T,H,W,3) in [0,1] to (T,3,H,W) in [-1,1].
    return torch.from_numpy(np.ascontiguousarray(clip.transpose(0, 3, 1, 2))).mul_(2).sub_(1)


def folder_pairs(
    *, root: str, source: Callable[..., Source], degradation: Degradation, shapes: Sequence[Shape], scale: int = 4
) -> Pairs:
    """Pairs of a source below a folder; the entry that gives configurations a plain `data.root`."""
    return Pairs(source(root), degradation, shapes, scale)
