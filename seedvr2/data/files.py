"""Training files by path: an image, a video, or the folder of a clip's numbered frames. What cannot be read is
`Unreadable`, what cannot be used a `UserError`.
"""

from collections import OrderedDict
from functools import lru_cache
from pathlib import Path

import numpy as np

from seedvr2.data.listing import frame_files
from seedvr2.data.source import reading, stacked
from seedvr2.errors import UserError
from seedvr2.io.images import image_size, read_image
from seedvr2.io.reader import is_video, open_video
from seedvr2.io.window import count_frames, read_window

KEPT = 512 * 2**20  # bytes of pictures that a process remembers

_pictures: OrderedDict[Path, np.ndarray] = OrderedDict()


def picture_of(path: Path) -> np.ndarray:
    """The upright picture of an image, uint8 (H,W,3) RGB; those asked for last are remembered, as far as they fit."""
    if path in _pictures:
        _pictures.move_to_end(path)
        return _pictures[path]
    with reading():
        picture = _pictures[path] = read_image(path)
    while sum(kept.nbytes for kept in _pictures.values()) > KEPT:
        _pictures.popitem(last=False)
    return picture


@lru_cache(maxsize=4096)
def size_of(path: Path) -> tuple[int, int, int]:
    """(frames, height, width), upright. Raises UserError for PQ and HLG videos, which would need tone mapping."""
    with reading():
        if path.is_dir():
            files = frame_files(path)
            return len(files), *image_size(files[0])
        if not is_video(path):
            return 1, *image_size(path)
        with open_video(path, threads=1) as video:
            info = video.info
        frames = count_frames(path, threads=1)
    if info.is_high_dynamic_range:
        raise UserError(f"{path} is a PQ or HLG video, which would need tone mapping; convert it to SDR")
    return frames, info.height, info.width


def window_of(path: Path, start: int, count: int) -> np.ndarray:
    """Frames start … start+count-1 as uint8 (count,H,W,3) RGB. Raises UserError if they differ in size."""
    if is_video(path) and not path.is_dir():
        with reading():
            return read_window(path, start, count, threads=1)
    with reading():
        files = frame_files(path)[start : start + count] if path.is_dir() else [path]
    return stacked([picture_of(file) for file in files], path, count)
