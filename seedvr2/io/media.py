"""Any input, one interface: videos, stills and folders of frames as upright full-range pictures."""

import glob
import logging
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Protocol, Self

from seedvr2.errors import UserError
from seedvr2.io.natural_order import is_visible, natural_key, numbered_frames
from seedvr2.io.picture import MediaInfo, Picture
from seedvr2.io.reader import existing_file, is_video
from seedvr2.io.still_source import AnimationSource, FramesSource, folder_source
from seedvr2.io.stills import is_still, still_header
from seedvr2.io.video_source import VideoSource

_log = logging.getLogger(__name__)


class Source(Protocol):
    """What pictures come from."""

    info: MediaInfo
    notes: list[str]
    damaged: int
    is_truncated: bool

    def pictures(self) -> Iterator[Picture]:
        """Every picture."""

    def close(self) -> None:
        """Release the file."""


class Media:
    """An open input, as a context manager: `.info`, and `.pictures()` once. asked: how it is to be read, JSON-able."""

    def __init__(self, source: Source, asked: Mapping[str, object] | None = None):
        self._source, self.asked = source, dict(asked or {})
        self._is_used = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def info(self) -> MediaInfo:
        """What is known; its notes grow while pictures are read."""
        return self._source.info._replace(notes=tuple(self._source.notes))

    @property
    def damaged(self) -> int:
        """How many packets and frames had errors so far; damaged frames are delivered, undecodable packets are not."""
        return self._source.damaged

    @property
    def is_truncated(self) -> bool:
        """Whether the input ended early; known when the last picture was read."""
        return self._source.is_truncated

    def pictures(self) -> Iterator[Picture]:
        """Every picture in display order, upright, all of one size and type; one use per opened input.

        As many as the decoder gives, edit lists honoured: a packet that yields no picture at all leaves a gap in the
        time stamps and counts as damage. `alpha` is there in every picture or in none, as `info.has_alpha` says.
        """
        assert not self._is_used, "the pictures of this input were already read; open it again"
        self._is_used = True
        yield from self._source.pictures()

    def close(self) -> None:
        """Close the input; the pictures end with it."""
        self._source.close()


def open_media(
    path: str | Path,
    *,
    bits: int | None = None,
    deinterlace: bool = True,
    rate: Fraction | None = None,
    threads: int = 0,
) -> Media:
    """Open a video, an image or a folder of numbered frames.

    bits: 8 or 16, for uint8 or uint16 pictures of full range; None takes 8 for files of 8 bits and 16 for deeper ones.
    deinterlace: make whole frames of interlaced ones, one for each. rate: frames per second of a folder (default 24)
    and of streams without time stamps; others keep their own. threads: the decoder's, 0 for one per core; some decoders
    take one only, because several would spoil the concealment of damage. Raises UserError if the input is missing,
    empty, unreadable or has no picture.
    """
    assert bits in (None, 8, 16), f"pictures have 8 or 16 bits, not {bits}"
    asked = {"rate": str(rate) if rate else None, "deinterlace": deinterlace}
    if Path(path).is_dir():
        return Media(folder_source(Path(path), bits=bits, rate=rate), asked)
    path = existing_file(path)
    if is_still(path):
        header = still_header(path)
        if header.frames > 1 and header.codec == "webp":
            return Media(AnimationSource(path, header, bits=bits), asked)
        if header.frames == 1 or header.codec not in ("gif", "png"):
            return Media(FramesSource(path, [path], bits=bits, rate=None), asked)
    return Media(VideoSource(path, bits=bits, deinterlace=deinterlace, rate=rate, threads=threads), asked)


def find_media(pattern_or_path: str | Path) -> list[Path]:
    """The inputs that a path or a glob pattern stands for, each of which `open_media` takes.

    A file is itself, whatever its name; a folder of numbered frames is one input; any other folder stands for its
    videos, images and folders of frames at any depth, in natural order. Hidden files are left out. Raises UserError if
    nothing is found.
    """
    path = Path(pattern_or_path)
    if path.is_dir():
        found = _inside(path)
    elif path.exists():
        found = [path]
    else:
        matches = sorted(map(Path, glob.glob(str(pattern_or_path), recursive=True)), key=natural_key)
        found = [media for match in matches for media in ([match] if _is_media(match) else _inside(match))]
    if not found:
        raise UserError(f"{pattern_or_path} stands for no video, image or folder of frames; check the path")
    return list(dict.fromkeys(found))


def _inside(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    try:
        frames = numbered_frames(path)
        entries = sorted(filter(is_visible, path.iterdir()), key=lambda entry: natural_key(entry.name))
    except PermissionError as error:
        _log.warning("%s cannot be listed (%s): left out", path, error.strerror)
        return []
    found = [path] if frames else []
    for entry in entries:
        if not _is_media(entry):
            found += _inside(entry)
        elif entry not in frames:
            found.append(entry)
    return found


def _is_media(path: Path) -> bool:
    return path.is_file() and (is_still(path) or is_video(path))
