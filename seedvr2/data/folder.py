"""Clean clips from a folder of images, videos and folders of numbered frames."""

import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from seedvr2.data.degradation.draw import span_of
from seedvr2.data.listing import frame_files, list_folder
from seedvr2.data.view import camera_move, random_crop
from seedvr2.errors import UserError
from seedvr2.io.images import read_image
from seedvr2.io.reader import VideoInfo, open_video
from seedvr2.io.window import count_frames, read_window

_log = logging.getLogger(__name__)


class FolderClips:
    """Random clips from the images and videos below a folder.

    `image_share` is the share of clips taken from still images (None: their share of the files); images asked for more
    than one frame become a slow pan and zoom, videos shorter than asked run back and forth. With `images_for_stills` a
    single frame never comes from a video, whose decoding costs far more. `shrink` is the range of
    reduction by area averaging, which turns mildly compressed pictures into clean ones; `video_shrink` replaces it for
    videos. `horizontal_flip`, `vertical_flip` and `reverse` (in time) are probabilities. `allow`, `skip` and
    `frame_folders`: see `list_folder`. A file that cannot be used (damaged, too small, high dynamic range) is skipped,
    logged once and counted in `failures`, and the next one is taken. Raises UserError for a folder without files, and
    at `clip` if none of them can be used.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        image_share: float | None = None,
        images_for_stills: bool = False,
        shrink: Sequence[float] = (1.0, 2.0),
        video_shrink: Sequence[float] | None = None,
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.0,
        reverse: float = 0.5,
        allow: Sequence[str] = ("*",),
        skip: Sequence[str] = (),
        frame_folders: bool = True,
    ):
        self.root = Path(root)
        self.images, self.clips = list_folder(self.root, allow=allow, skip=skip, frame_folders=frame_folders)
        total = len(self.images) + len(self.clips)
        self.image_share = len(self.images) / total if image_share is None else float(image_share)
        self.images_for_stills = images_for_stills and bool(self.images)
        self.shrink = span_of("shrink", shrink)
        self.video_shrink = span_of("video_shrink", shrink if video_shrink is None else video_shrink)
        if min(self.shrink[0], self.video_shrink[0]) < 1:
            raise UserError(f"shrink is {list(shrink)} and video_shrink {video_shrink}; give factors of at least 1")
        self.flips = (float(reverse), float(vertical_flip), float(horizontal_flip))
        self.failures = 0
        self._reported: set[Path] = set()

    def clip(self, rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
        """A random clip, float32 (frames, height, width, 3) RGB in [0,1]."""
        first = None
        for path, is_still in self._candidates(rng, frames):
            # Each try gets its own generator: how far a failed one came must not change the next.
            attempt = np.random.default_rng(rng.integers(2**63))
            try:
                cut = self._from_image if is_still else self._from_clip
                return self._flipped(attempt, cut(attempt, path, frames, (height, width)))
            except UserError as error:
                first = first or error
                self._report(path, error)
        raise UserError(
            f"no file below {self.root} gives a clip of {frames} frames of {height}x{width}; the first problem: {first}"
        )

    def _candidates(self, rng: np.random.Generator, frames: int) -> Iterator[tuple[Path, bool]]:
        # Every file once: the drawn one, those after it of the same kind, and those of the other kind.
        share = 1.0 if frames == 1 and self.images_for_stills else self.image_share
        is_still = rng.random() < share
        position = rng.random()
        for kind in (is_still, not is_still):
            paths = self.images if kind else self.clips
            start = int(position * len(paths))
            for offset in range(len(paths)):
                yield paths[(start + offset) % len(paths)], kind

    def _report(self, path: Path, error: UserError) -> None:
        self.failures += 1
        if path not in self._reported:
            self._reported.add(path)
            _log.warning("skipped: %s", error)

    def _from_image(self, rng: np.random.Generator, path: Path, frames: int, view: tuple[int, int]) -> np.ndarray:
        picture = _picture(path)
        if frames == 1:
            return random_crop(rng, picture[None], view, shrink=self.shrink)
        return camera_move(rng, picture, frames, view, shrink=self.shrink)

    def _from_clip(self, rng: np.random.Generator, path: Path, frames: int, view: tuple[int, int]) -> np.ndarray:
        length = _frames_of(path)
        count = min(frames, length)
        start = int(rng.integers(length - count + 1))
        window = _window(path, start, count)
        return random_crop(rng, window[back_and_forth(count, frames)], view, shrink=self.video_shrink)

    def _flipped(self, rng: np.random.Generator, clip: np.ndarray) -> np.ndarray:
        axes = [axis for axis, probability in enumerate(self.flips) if rng.random() < probability]
        return np.ascontiguousarray(np.flip(clip, axes))


def back_and_forth(length: int, frames: int) -> np.ndarray:
    """Frame numbers 0 … length-1 … 0 … repeated without doubling the ends, `frames` of them."""
    cycle = [*range(length), *range(length - 2, 0, -1)]
    return np.resize(cycle, frames)


@lru_cache(maxsize=64)
def _picture(path: Path) -> np.ndarray:
    return read_image(path)


@lru_cache(maxsize=4096)
def _frames_of(path: Path) -> int:
    if path.is_dir():
        return len(frame_files(path))
    if _info(path).is_high_dynamic_range:
        raise UserError(f"{path} is a PQ or HLG video, which would need tone mapping; convert it to SDR")
    return count_frames(path, threads=1)


def _info(path: Path) -> VideoInfo:
    with open_video(path, threads=1) as video:
        return video.info


def _window(path: Path, start: int, count: int) -> np.ndarray:
    if not path.is_dir():
        return read_window(path, start, count, threads=1)
    pictures = [_picture(file) for file in frame_files(path)[start : start + count]]
    if len({picture.shape for picture in pictures}) > 1:
        raise UserError(f"{path} has frames of different sizes; leave it out or list it as still images")
    return np.stack(pictures)
