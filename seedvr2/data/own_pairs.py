"""Pairs that people bring themselves: a folder of clean files and one of low-quality files with the same names."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from seedvr2.data.files import size_of, window_of
from seedvr2.data.listing import list_folder
from seedvr2.data.pairs import Pair, to_tensor, upsampled
from seedvr2.data.shapes import Schedule, Shape
from seedvr2.data.source import Unreadable
from seedvr2.errors import UserError
from seedvr2.randomness import Key, numpy_generator

_log = logging.getLogger(__name__)


class Twins(NamedTuple):
    """A clean file and its low-quality version; the size is that of the clean one."""

    hq: Path
    lq: Path
    frames: int
    height: int
    width: int


class OwnPairs:
    """Random windows of pairs of files; serves the same calls as `Pairs`.

    `hq` and `lq` are folders of images, videos and folders of numbered frames that have the same names, whatever their
    suffixes; each low-quality file has as many frames as the clean one and 1/`scale` of its height and width.
    `horizontal_flip`, `vertical_flip` and `reverse` are probabilities. All files are looked at once; what later cannot
    be read is passed over, logged, and counted in `failures`. Raises UserError for a file without its twin, for twins
    that do not fit, and for a shape that no pair can fill.
    """

    def __init__(
        self,
        hq: str | Path,
        lq: str | Path,
        *,
        shapes: Sequence[Shape],
        scale: int = 4,
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.0,
        reverse: float = 0.5,
    ):
        self.scale = int(scale)
        self.schedule = Schedule(shapes, multiple=self.scale)
        self.shapes, self.shape_of = self.schedule.shapes, self.schedule.shape_of
        self.flips = (float(reverse), float(vertical_flip), float(horizontal_flip))
        self.failures = 0
        self.twins = [_twins(*paths, self.scale) for paths in _matched(Path(hq), Path(lq))]
        self.fitting = {shape.size: self._fitting(shape) for shape in self.shapes}

    def hq(self, key: Key, shape: Shape) -> Tensor:
        """The clean clip of `draw` for the same key."""
        return self.draw(key, shape).hq

    def draw(self, key: Key, shape: Shape) -> Pair:
        """The sample of a key, a function of the key and the files alone."""
        rng = numpy_generator(*key, "clean")
        fitting = self.fitting[shape.size]
        for number in rng.permutation(len(fitting)):
            attempt = np.random.default_rng(rng.integers(2**63))
            try:
                return self._cut(attempt, fitting[number], shape)
            except Unreadable as error:
                self.failures += 1
                _log.warning("skipped: %s", error)
        raise UserError(f"none of the {len(fitting)} pairs for {shape} can be read any more; check the folders")

    def draws(self, key: Key, shape: Shape, count: int) -> tuple[Tensor, list[Tensor], list[list[dict]]]:
        """The sample of a key as `Pairs.draws` returns it. Raises UserError for a count other than 1."""
        if count != 1:
            raise UserError(f"draws is {count}, but each clean file has one low-quality version: use draws=1")
        pair = self.draw(key, shape)
        return pair.hq, [pair.lq], [[]]

    def _fitting(self, shape: Shape) -> list[Twins]:
        found = [
            pair
            for pair in self.twins
            if pair.frames >= shape.frames and pair.height >= shape.height and pair.width >= shape.width
        ]
        if not found:
            raise UserError(f"no pair fills {shape}: give larger or longer files, or a smaller shape")
        return found

    def _cut(self, rng: np.random.Generator, pair: Twins, shape: Shape) -> Pair:
        start = int(rng.integers(pair.frames - shape.frames + 1))
        height, width = shape.height // self.scale, shape.width // self.scale
        top = int(rng.integers(pair.height // self.scale - height + 1))
        left = int(rng.integers(pair.width // self.scale - width + 1))
        axes = [axis for axis, probability in enumerate(self.flips) if rng.random() < probability]
        clips = []
        for path, scale in ((pair.hq, self.scale), (pair.lq, 1)):
            rows, columns = (slice(scale * at, scale * (at + side)) for at, side in ((top, height), (left, width)))
            part = window_of(path, start, shape.frames)[:, rows, columns]
            clips.append(to_tensor(np.flip(part, axes).astype(np.float32) / np.float32(255)))
        return Pair(clips[0], upsampled(clips[1], clips[0].shape[2:]))


def _matched(hq: Path, lq: Path) -> list[tuple[Path, Path]]:
    sides = []
    for folder in (hq, lq):
        images, clips = list_folder(folder)
        named: dict[str, Path] = {}
        for path in (*images, *clips):
            relative = path.relative_to(folder)
            name = (relative if path.is_dir() else relative.with_suffix("")).as_posix()
            if name in named:
                raise UserError(f"{folder} has two files named {name}; keep one of {named[name].name} and {path.name}")
            named[name] = path
        sides.append(named)
    for name in sorted(sides[0].keys() ^ sides[1].keys()):
        has, lacks = (hq, lq) if name in sides[0] else (lq, hq)
        raise UserError(f"{name} is in {has} but not in {lacks}; give each file its twin")
    return [(path, sides[1][name]) for name, path in sorted(sides[0].items())]


def _twins(hq: Path, lq: Path, scale: int) -> Twins:
    (frames, height, width), small = size_of(hq), size_of(lq)
    if small[0] != frames:
        raise UserError(f"{hq} has {frames} frames, {lq} {small[0]}; give pairs of equal length")
    if (small[1] * scale, small[2] * scale) != (height, width):
        raise UserError(
            f"{hq} is {width}x{height} and {lq} {small[2]}x{small[1]}, which is no x{scale}; change the files or scale"
        )
    return Twins(hq, lq, frames, height, width)
