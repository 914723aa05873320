"""The clips that a benchmark compares: a video, an image or a folder of frames, measured and read as 8-bit RGB."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seedvr2.data.listing import is_frame_folder
from seedvr2.errors import UserError
from seedvr2.io.media import Media, open_media
from seedvr2.io.natural_order import is_visible, natural_key, numbered_frames, numbers_in
from seedvr2.io.reader import is_video
from seedvr2.io.stills import is_still
from seedvr2.io.window import count_frames

SINGLE = "clip"  # the name of the one clip of a folder that holds frames itself


class Footage(NamedTuple):
    """What a clip measures: `size` is (height, width), `notes` are plain sentences about what reading it costs."""

    frames: int
    size: tuple[int, int]
    notes: tuple[str, ...]


def measure(path: Path) -> Footage:
    """Frames and size of a clip; frames are counted, never taken from a header.

    Raises UserError for what cannot be read, for frames of several sizes, and for PQ and HLG videos.
    """
    with _opened(path) as media:
        info = media.info
    notes = list(info.notes)
    if info.kind == "video" and is_video(path):
        frames = count_frames(path)
        if info.pixel_format.startswith(("yuv42", "yuvj42", "yuv41", "nv")):
            notes.append(f"{path.name} holds {info.pixel_format} ({info.codec}), whose lost colours count against it")
    else:
        frames = info.frames
    return Footage(frames, (info.height, info.width), tuple(notes))


def read_clip(path: Path) -> Iterator[np.ndarray]:
    """Every frame as uint8 (H,W,3) RGB. Raises UserError for clips that are damaged or end early."""
    with _opened(path) as media:
        for picture in media.pictures():
            yield picture.rgb
        if media.damaged or media.is_truncated:
            raise UserError(f"{path} is damaged, so its frames cannot be scored; make or copy it again")


def clips_in(folder: Path) -> dict[str, Path]:
    """The clips below a folder by name, in natural order: folders of pictures, videos and single images.

    A name is the path below the folder without suffix, so it holds slashes where clips lie deeper. A folder that itself
    holds frames named like 0001.png is one clip named "clip". Raises UserError for two clips of one name.
    """
    pictures = _pictures(folder)
    if is_frame_folder(pictures):
        return {SINGLE: folder}
    found: dict[str, Path] = {}
    for path in sorted(filter(is_visible, folder.iterdir()), key=lambda path: natural_key(path.name)):
        if path.is_dir():
            inside = _pictures(path)
            if len(inside) == 1:  # a clip of one frame
                inner = {path.name: inside[0]}
            else:
                inner = {path.name: path} if is_frame_folder(inside) else _prefixed(path)
        else:
            inner = {path.stem: path} if is_video(path) or path in pictures else {}
        for name, clip in inner.items():
            if name in found:
                raise UserError(f"{folder} has two clips named {name}; keep one of {found[name].name} and {clip.name}")
            found[name] = clip
    return found


def files_of(path: Path) -> list[Path]:
    """The files that a clip consists of, in the order of its frames."""
    if not path.is_dir():
        return [path]
    return numbered_frames(path) or _pictures(path)


def first_number(path: Path) -> int | None:
    """The number in the name of the first frame of a folder; None for other clips and for names without one."""
    numbers = numbers_in(files_of(path)[0].stem) if path.is_dir() else ()
    return numbers[-1] if numbers else None


def _prefixed(folder: Path) -> dict[str, Path]:
    return {f"{folder.name}/{name}": clip for name, clip in clips_in(folder).items()}


def _pictures(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if is_visible(path) and path.is_file() and is_still(path)]


def _opened(path: Path) -> Media:
    if path.is_dir() and len(pictures := _pictures(path)) == 1:
        path = pictures[0]  # a clip of one frame
    media = open_media(path, bits=8)
    if media.info.colors.is_high_dynamic_range:
        media.close()
        raise UserError(f"{path} is a PQ or HLG video, which would need tone mapping; convert it to SDR")
    return media
