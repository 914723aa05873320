"""Where clean clips come from, and what every collection of files does alike: read, cut, turn, and pass over damage."""

import contextlib
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import av
import numpy as np

from seedvr2.data.degradation.draw import span_of
from seedvr2.data.view import camera_move, random_crop
from seedvr2.errors import UserError


class Source(Protocol):
    """A collection of clean clips. `failures` counts the files that could not be read and were passed over."""

    failures: int

    def clip(self, rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
        """A random clip, float32 (frames, height, width, 3) RGB in [0,1], drawn from the generator alone."""
        ...


class Unreadable(UserError):
    """A file that is gone, damaged, or no picture."""


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Whatever goes wrong while a file is read is `Unreadable`."""
    try:
        yield
    except (UserError, OSError, av.FFmpegError, tarfile.TarError) as error:
        raise Unreadable(str(error)) from error


def stacked(pictures: Sequence[np.ndarray], name: str | Path, count: int) -> np.ndarray:
    """`count` pictures (H,W,3) as (count,H,W,3); raises Unreadable if some are missing or differ in size."""
    if len(pictures) < count:
        raise Unreadable(f"{name} has lost frames: {len(pictures)} of {count} are there")
    if len({picture.shape for picture in pictures}) > 1:
        raise Unreadable(f"{name} has frames of different sizes; leave it out or list it as still images")
    return np.stack(pictures)


class Cutter:
    """Random parts of pictures and videos at the size that is asked for.

    `shrink` is the range of reduction by area averaging, which turns mildly compressed pictures into clean ones;
    `video_shrink` replaces it for videos. `pan`: the most that a still moves per frame, as a share of the shorter side
    of what is cut. `stride`: range of the steps between the frames taken of a video, as far as it is long enough:
    above 1 everything moves faster. `horizontal_flip`, `vertical_flip`, `reverse` (in time) and `channel_shuffle`
    (the three colours in another order) are probabilities. `gamma`: range of a power of all values, log-uniform; None:
    values stay what they are. Raises UserError for reductions and strides below 1 and powers that are not positive.
    """

    def __init__(
        self,
        shrink: Sequence[float],
        video_shrink: Sequence[float] | None,
        *,
        pan: float,
        stride: Sequence[int],
        horizontal_flip: float,
        vertical_flip: float,
        reverse: float,
        channel_shuffle: float,
        gamma: Sequence[float] | None,
    ):
        self.shrink = span_of("shrink", shrink)
        self.video_shrink = span_of("video_shrink", shrink if video_shrink is None else video_shrink)
        if min(self.shrink[0], self.video_shrink[0]) < 1:
            raise UserError(f"shrink is {list(shrink)} and video_shrink {video_shrink}; give factors of at least 1")
        if not 0 <= pan <= 1:
            raise UserError(f"pan is {pan}; give a share of the view from 0 to 1")
        self.pan = float(pan)
        self.stride = span_of("stride", stride)
        if self.stride[0] < 1 or any(step != int(step) for step in self.stride):
            raise UserError(f"stride is {list(stride)}; give two whole numbers of at least 1")
        self.flips = (float(reverse), float(vertical_flip), float(horizontal_flip))
        self.channel_shuffle = float(channel_shuffle)
        self.gamma = None if gamma is None else span_of("gamma", gamma)
        if self.gamma and self.gamma[0] <= 0:
            raise UserError(f"gamma is {list(gamma)}; give powers above 0, such as [0.67, 1.5]")

    def still(self, rng: np.random.Generator, picture: np.ndarray, frames: int, view: tuple[int, int]) -> np.ndarray:
        """Part of a uint8 (H,W,3) picture, with a pan and slow zoom if several frames are wanted."""
        if frames == 1:
            return self._varied(rng, random_crop(rng, picture[None], view, shrink=self.shrink))
        return self._varied(rng, camera_move(rng, picture, frames, view, shrink=self.shrink, pan=self.pan))

    def window(self, rng: np.random.Generator, frames: int, length: int) -> tuple[int, int, int]:
        """Start and number of the frames to read for a clip of `frames` from `length`, and the step to take of them."""
        low, high = (int(min(step, max((length - 1) // max(frames - 1, 1), 1))) for step in self.stride)
        step = int(rng.integers(low, high + 1)) if frames > 1 and high > low else low
        count = min((frames - 1) * step + 1, length)
        return int(rng.integers(length - count + 1)), count, step

    def video(self, rng: np.random.Generator, window: np.ndarray, frames: int, view: tuple[int, int]) -> np.ndarray:
        """Part of a uint8 (T,H,W,3) video, which runs back and forth if it has fewer frames than wanted."""
        if len(window) < frames:
            window = window[back_and_forth(len(window), frames)]
        return self._varied(rng, random_crop(rng, window, view, shrink=self.video_shrink))

    def _varied(self, rng: np.random.Generator, clip: np.ndarray) -> np.ndarray:
        clip = self._flipped(rng, clip)
        if self.channel_shuffle and rng.random() < self.channel_shuffle:
            clip = clip[..., rng.permutation(3)]
        if self.gamma:
            clip = clip ** np.float32(np.exp(rng.uniform(*np.log(self.gamma))))
        return np.ascontiguousarray(clip)

    def _flipped(self, rng: np.random.Generator, clip: np.ndarray) -> np.ndarray:
        axes = [axis for axis, probability in enumerate(self.flips) if rng.random() < probability]
        return np.ascontiguousarray(np.flip(clip, axes))


def back_and_forth(length: int, frames: int) -> np.ndarray:
    """Frame numbers 0 … length-1 … 0 … repeated without doubling the ends, `frames` of them."""
    cycle = [*range(length), *range(length - 2, 0, -1)]
    return np.resize(cycle, frames)
