"""Clean clips of an index: from the files it was made of, or from the shards they were packed into."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Literal

import numpy as np

from seedvr2.data.indexing.rows import Clip, Index
from seedvr2.data.shapes import Shape, nearest_ratio
from seedvr2.data.shards import open_clip
from seedvr2.data.source import Cutter, Unreadable, reading, stacked
from seedvr2.errors import UserError
from seedvr2.io.decord_window import read_with_decord
from seedvr2.io.images import read_image
from seedvr2.io.window import Landmark, read_beyond

ATTEMPTS = 100  # clips that are tried for one sample

_log = logging.getLogger(__name__)


class IndexClips:
    """Random clips of an index, each of a length and aspect ratio that suit the sample.

    A sample of several frames is a random window of a clip that is long enough; a single frame comes from the images,
    or with `stills="any"` also from videos. Of the sizes that `serve` was told, a clip serves the one nearest to its
    own aspect ratio. `root`: folder of the files, if they moved since they were indexed. `licences`: those that are
    taken, None for all. `reader`: av, or decord (which ignores edit lists, and takes whole shard members into memory).
    From `shrink` to `gamma`: see `Cutter`. Clips that cannot be read are passed over, logged once and counted in
    `failures`. Raises UserError for an unreadable index.
    """

    def __init__(
        self,
        index: str | Path,
        *,
        root: str | Path | None = None,
        stills: Literal["images", "any"] = "images",
        licences: Sequence[str] | None = None,
        reader: Literal["av", "decord"] = "av",
        shrink: Sequence[float] = (1.0, 2.0),
        video_shrink: Sequence[float] | None = None,
        pan: float = 0.03,
        stride: Sequence[int] = (1, 1),
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.0,
        reverse: float = 0.5,
        channel_shuffle: float = 0.0,
        gamma: Sequence[float] | None = None,
    ):
        self.location, self.root = index, root
        self.index = Index(index, root=root)
        self.stills, self.licences, self.reader = stills, licences, reader
        motion = {"pan": pan, "stride": stride, "reverse": reverse}
        flips = {"horizontal_flip": horizontal_flip, "vertical_flip": vertical_flip}
        self.cut = Cutter(shrink, video_shrink, **motion, **flips, channel_shuffle=channel_shuffle, gamma=gamma)
        self.failures = 0
        self._reported: set[str] = set()
        self._shapes: tuple[tuple[int, int, int], ...] = ()
        self._numbers: dict[tuple[int, int, int], np.ndarray] = {}

    def __getstate__(self) -> dict:
        # Workers open the index again: a copy of millions of rows would go through a pipe. Each holds it in memory.
        return {**self.__dict__, "index": None, "_numbers": {}}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self.index = Index(self.location, root=self.root)
        self._sort_clips()

    def shares(self, frames: int, sizes: Mapping[str, tuple[int, int]], least: int = 1) -> dict[str, float]:
        """The share of each named size (height, width) among the clips of `frames` frames that are large enough.

        A size that fewer than `least` clips are nearest to leaves them to the others.
        """
        left = dict(sizes)
        while True:
            numbers = self._nearest(frames, list(left.values()))
            counts = {name: len(found) for name, found in zip(left, numbers, strict=True)}
            smallest = min(counts, key=counts.get)
            if counts[smallest] >= least or len(left) == 1:
                total = max(sum(counts.values()), 1)
                return {name: count / total for name, count in counts.items()}
            del left[smallest]

    def serve(self, shapes: Sequence[Shape]) -> None:
        """Sort the clips by the sizes that will be asked for. Raises UserError for a size without clips."""
        self._shapes = tuple(dict.fromkeys(shape.size for shape in shapes))
        self._sort_clips()

    def clip(self, rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
        """A random clip, float32 (frames, height, width, 3) RGB in [0,1], of a size that `serve` was told."""
        numbers = self._numbers[frames, height, width]
        first = None
        for _ in range(ATTEMPTS):
            # Each try gets its own generator: how far a failed one came must not change the next.
            attempt = np.random.default_rng(rng.integers(2**63))
            clip = self.index[int(numbers[attempt.integers(len(numbers))])]
            try:
                return self._cut(attempt, clip, frames, (height, width))
            except Unreadable as error:
                first = first or error
                self.failures += 1
                if clip.path not in self._reported:
                    self._reported.add(clip.path)
                    _log.warning("skipped: %s", error)
        raise UserError(f"{ATTEMPTS} clips of {self.location} in a row cannot be read; the first problem: {first}")

    def _sort_clips(self) -> None:
        for frames in dict.fromkeys(size[0] for size in self._shapes):
            sizes = [size[1:] for size in self._shapes if size[0] == frames]
            for size, numbers in zip(sizes, self._nearest(frames, sizes), strict=True):
                if not len(numbers):
                    raise UserError(
                        f"no clip of {self.location} can be a sample of {frames} x {size[0]} x {size[1]} after "
                        f"reduction by {self.cut.video_shrink[0]:g}: index more, or leave that shape out"
                    )
                self._numbers[frames, *size] = numbers

    def _nearest(self, frames: int, sizes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        # Numbers of the clips that serve each size (height, width).
        height, width, kind = (self.index.column(name) for name in ("height", "width", "kind"))
        is_still = kind == "image"
        wanted = self.index.column("frames") >= frames
        if frames == 1 and self.stills == "images" and is_still.any():
            wanted &= is_still
        if self.licences is not None:
            wanted &= np.isin(self.index.column("licence").astype(str), list(self.licences))
        least = np.where(is_still, self.cut.shrink[0], self.cut.video_shrink[0])
        nearest = nearest_ratio(height, width, sizes)
        found = []
        for number, (view_height, view_width) in enumerate(sizes):
            fits = (height >= least * view_height) & (width >= least * view_width)
            found.append(np.flatnonzero(wanted & fits & (nearest == number)).astype(np.int32))
        return found

    def _cut(self, rng: np.random.Generator, clip: Clip, frames: int, view: tuple[int, int]) -> np.ndarray:
        offset, count, step = self.cut.window(rng, frames, clip.frames)
        with reading():
            window = self._window(clip, offset, count)[::step]
        if window.shape[1:3] != (clip.height, clip.width):
            raise Unreadable(f"{self.index.place(clip)} changed since it was indexed; index the folder again")
        if clip.kind == "image":
            return self.cut.still(rng, window[0], frames, view)
        return self.cut.video(rng, window, frames, view)

    def _window(self, clip: Clip, offset: int, count: int) -> np.ndarray:
        if clip.kind == "frames":
            clip = clip._replace(start=clip.start + offset, frames=count)
        if clip.kind == "video" and not clip.shard:
            return self._video(self.index.place(clip), clip, offset, count, None)
        files = open_clip(self.index, clip)
        try:
            if clip.kind == "video":
                ((name, file),) = files
                return self._video(name, clip, offset, count, file)
            return stacked([read_image(name, file=file) for name, file in files], clip.path, count)
        finally:
            for _, file in files:
                file.close()

    def _video(self, name: str, clip: Clip, offset: int, count: int, file: IO[bytes] | None) -> np.ndarray:
        if self.reader == "decord":
            return read_with_decord(PurePosixPath(name), clip.start + offset, count, file=file)
        landmark = Landmark(clip.start, clip.pts, 0.0 if clip.is_variable else clip.fps)
        return read_beyond(name, landmark, offset, count, file=file, threads=1)
