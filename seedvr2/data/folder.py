"""Clean clips from a folder of images, videos and folders of numbered frames."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from seedvr2.data.files import picture_of, size_of, window_of
from seedvr2.data.listing import list_folder
from seedvr2.data.source import Cutter, Unreadable
from seedvr2.errors import UserError

_log = logging.getLogger(__name__)


class FolderClips:
    """Random clips from the images and videos below a folder.

    `image_share` is the share of clips taken from still images (None: their share of the files); images asked for more
    than one frame become a pan and slow zoom, videos shorter than asked run back and forth. With `images_for_stills` a
    single frame never comes from a video, whose decoding costs far more. From `shrink` to `gamma`: see `Cutter`.
    `allow`, `skip` and `frame_folders`: see `list_folder`. A file that cannot be used (damaged, too small, high dynamic
    range) is passed over, logged once, and another one is drawn; `failures` counts those that could not be read.
    Raises UserError for a folder without files, and at `clip` if none of them can be used.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        image_share: float | None = None,
        images_for_stills: bool = False,
        shrink: Sequence[float] = (1.0, 2.0),
        video_shrink: Sequence[float] | None = None,
        pan: float = 0.03,
        stride: Sequence[int] = (1, 1),
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.0,
        reverse: float = 0.5,
        channel_shuffle: float = 0.0,
        gamma: Sequence[float] | None = None,
        allow: Sequence[str] = ("*",),
        skip: Sequence[str] = (),
        frame_folders: bool = True,
    ):
        self.root = Path(root)
        self.images, self.clips = list_folder(self.root, allow=allow, skip=skip, frame_folders=frame_folders)
        total = len(self.images) + len(self.clips)
        self.image_share = len(self.images) / total if image_share is None else float(image_share)
        self.images_for_stills = images_for_stills and bool(self.images)
        motion = {"pan": pan, "stride": stride, "reverse": reverse}
        flips = {"horizontal_flip": horizontal_flip, "vertical_flip": vertical_flip}
        self.cut = Cutter(shrink, video_shrink, **motion, **flips, channel_shuffle=channel_shuffle, gamma=gamma)
        self.failures = 0
        self._reported: set[Path] = set()

    def clip(self, rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
        """A random clip, float32 (frames, height, width, 3) RGB in [0,1]."""
        first = None
        for path, is_still in self._candidates(rng, frames):
            # Each try gets its own generator: how far a failed one came must not change the next.
            attempt = np.random.default_rng(rng.integers(2**63))
            try:
                return self._cut(attempt, path, is_still, frames, (height, width))
            except UserError as error:
                first = first or error
                self._report(path, error)
        raise UserError(
            f"no file below {self.root} gives a clip of {frames} frames of {height}x{width}; the first problem: {first}"
        )

    def _candidates(self, rng: np.random.Generator, frames: int) -> Iterator[tuple[Path, bool]]:
        # Every file once: the drawn one, then the others of its kind and those of the other kind in random order.
        share = 1.0 if frames == 1 and self.images_for_stills else self.image_share
        is_still = rng.random() < share
        position = rng.random()
        for kind in (is_still, not is_still):
            paths = self.images if kind else self.clips
            if not paths:
                continue
            first = int(position * len(paths))
            yield paths[first], kind
            for number in rng.permutation(len(paths)):
                if number != first:
                    yield paths[number], kind

    def _cut(
        self, rng: np.random.Generator, path: Path, is_still: bool, frames: int, view: tuple[int, int]
    ) -> np.ndarray:
        if is_still:
            return self.cut.still(rng, picture_of(path), frames, view)
        start, count, step = self.cut.window(rng, frames, size_of(path)[0])
        return self.cut.video(rng, window_of(path, start, count)[::step], frames, view)

    def _report(self, path: Path, error: UserError) -> None:
        self.failures += isinstance(error, Unreadable)
        if path not in self._reported:
            self._reported.add(path)
            _log.warning("skipped: %s", error)
