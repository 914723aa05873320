"""What one file really holds, found by decoding all of it: facts, shots and their scores, or why it is unusable."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from seedvr2.data.indexing.scores import SMALL_SIDE, Scores, ShotScores
from seedvr2.data.listing import frame_files
from seedvr2.errors import UserError
from seedvr2.io.images import read_image
from seedvr2.io.orientation import Orientation
from seedvr2.io.reader import Video, existing_file, open_video, rgb
from seedvr2.io.shots import mark_cuts
from seedvr2.io.truncation import is_cut_short

PLAYLISTS = (b"ffconcat", b"#EXTM3U", b"<?xml")  # how files begin by which FFmpeg would read others
STAMP_TOLERANCE = Fraction(1, 500)  # seconds; Matroska rounds to milliseconds


class Shot(NamedTuple):
    """A run of frames without a cut; the size is that of its upright frames."""

    start: int
    frames: int
    width: int
    height: int
    pts: int | None  # of the first frame, in the stream's units; None without time stamps
    scores: Scores


class Facts(NamedTuple):
    """What a decoded file holds. A file that cannot be used has no shots, and says why."""

    content: str  # hash of the bytes; empty if they cannot be read
    size: int  # bytes
    problem: str = ""  # corrupt, truncated or unreadable; empty if there is none
    detail: str = ""  # the problem in one sentence
    codec: str = ""
    pixel_format: str = ""
    bits: int = 8
    fps: float = 0.0  # frames per second; 0 for images and where unknown
    rotation: int = 0  # degrees counter-clockwise that the reader applies
    is_hdr: bool = False
    is_interlaced: bool = False
    is_variable: bool = False  # distances between frames differ by more than rounding
    lacks_times: bool = False  # frames without pts
    repeats_times: bool = False  # frames with a pts that is not above the one before
    shots: tuple[Shot, ...] = ()


class _Seen(NamedTuple):
    """A frame on its way through shot detection."""

    frame: object  # a decoder's frame, or a uint8 (H,W,3) picture
    small: np.ndarray  # uint8 (h,w,3), not turned upright


def probe(path: Path, kind: str, *, beat: Callable[[], None] = lambda: None) -> Facts:
    """Decode the file or folder of frames at `path`; `kind` is image, video or frames. Damage is told, not raised.

    `beat` is called with every frame, so that a long film is told from a decoder that hangs.
    """
    try:
        if not _is_unicode(path):
            raise UserError(f"{str(path)!r} is no UTF-8 name; rename the file")
        files = frame_files(path) if kind == "frames" else (existing_file(path),)
        facts = Facts(*_digest(files, beat))
        return _video(path, facts, beat) if kind == "video" else _pictures(files, facts, beat)
    except UserError as error:
        return Facts("", 0, problem="unreadable", detail=str(error))
    except Exception as error:  # damaged files make decoders raise anything
        return Facts("", 0, problem="unreadable", detail=f"{path} cannot be read ({type(error).__name__}: {error})")


def _is_unicode(path: Path) -> bool:
    return not any("\udc80" <= letter <= "\udcff" for letter in str(path))


def _digest(files: Iterable[Path], beat: Callable[[], None]) -> tuple[str, int]:
    digest, size = content_hash(), 0
    for file in files:
        with open(existing_file(file), "rb") as stream:  # a pipe has no end
            while block := stream.read(1 << 20):
                digest.update(block)
                size += len(block)
                beat()
    return digest.hexdigest(), size


def content_hash() -> "hashlib._Hash":
    """What `Facts.content` is made with, over the bytes of a file or of all frames of a folder in order."""
    return hashlib.blake2b(digest_size=12)


def _pictures(files: Iterable[Path], facts: Facts, beat: Callable[[], None]) -> Facts:
    shots = tuple(_shots(map(read_image, files), beat))
    with Image.open(files[0]) as image:  # whatever its name says
        bits = 16 if image.mode.startswith("I") else 8
        return facts._replace(codec=image.format.lower(), pixel_format=image.mode, bits=bits, shots=shots)


def _video(path: Path, facts: Facts, beat: Callable[[], None]) -> Facts:
    with open(path, "rb") as file:
        if file.read(16).startswith(PLAYLISTS):
            raise UserError(f"{path} is a list of other files; give those")
    with open_video(path, threads=1) as video:
        info = video.info
        times: list[int | None] = []
        fields: list[bool] = []
        shots = tuple(_shots(_noted(video, times, fields), beat))
        damaged, truncated = video.damaged, video.is_truncated or is_cut_short(path)
    facts = facts._replace(
        codec=info.codec,
        pixel_format=info.pixel_format,
        bits=info.bits,
        rotation=info.rotation,
        is_hdr=info.is_high_dynamic_range,
        is_interlaced=any(fields),
        **_timing(times, info.rate, info.time_base),
    )
    if truncated:
        return facts._replace(problem="truncated", detail=f"{path} ends early, after {len(times)} frames")
    if damaged:
        return facts._replace(problem="corrupt", detail=f"{path} has {damaged} decoding errors in {len(times)} frames")
    return facts._replace(shots=shots)


def _noted(video: Video, times: list[int | None], fields: list[bool]) -> Iterator[av.VideoFrame]:
    for frame in video.decoded():
        times.append(frame.pts)
        fields.append(frame.interlaced_frame)  # films on tape mix both
        yield frame


def _timing(times: list[int | None], rate: Fraction | None, base: Fraction) -> dict[str, object]:
    known = [time for time in times if time is not None]
    steps = np.diff(np.array(known, dtype=np.int64))
    shortest, longest = (int(steps.min()), int(steps.max())) if len(steps) else (1, 1)
    is_variable = (longest - shortest) * base > max(STAMP_TOLERANCE, base)
    fps = float(rate) if rate else 0.0
    if len(steps) and (is_variable or not fps) and shortest > 0:
        fps = len(steps) / float((known[-1] - known[0]) * base)  # the header's rate says nothing here
    return {
        "fps": fps,
        "is_variable": is_variable,
        "lacks_times": len(known) < len(times),
        "repeats_times": shortest <= 0,
    }


def _shots(frames: Iterable[object], beat: Callable[[], None]) -> Iterator[Shot]:
    start, size, pts, scores = 0, (0, 0), None, ShotScores()
    for (frame, small), begins in mark_cuts(_seen(frames, beat), picture=lambda item: item.small):
        if scores.frames and (begins or _size(frame) != size):  # small pictures do not tell a change of size
            yield Shot(start, scores.frames, *size, pts, scores.result())
            start, scores = start + scores.frames, ShotScores()
        if scores.frames == 0:
            size, pts = _size(frame), getattr(frame, "pts", None)
        scores.add(small, _picture(frame) if scores.wants_full else None)
    if scores.frames:
        yield Shot(start, scores.frames, *size, pts, scores.result())


def _seen(frames: Iterable[object], beat: Callable[[], None]) -> Iterator[_Seen]:
    reformatter = VideoReformatter()  # one for all frames, because it is dear to make
    for frame in frames:
        beat()
        yield _Seen(frame, _small(frame, reformatter))


def _picture(frame: object) -> np.ndarray:
    return rgb(frame) if isinstance(frame, av.VideoFrame) else frame


def _size(frame: object) -> tuple[int, int]:
    # Width and height of the upright picture.
    if not isinstance(frame, av.VideoFrame):
        return frame.shape[1], frame.shape[0]
    is_turned = Orientation.of(frame).is_transposed
    return (frame.height, frame.width) if is_turned else (frame.width, frame.height)


def _small(frame: object, reformatter: VideoReformatter) -> np.ndarray:
    # Sides are even, and not turned upright: no score depends on it.
    is_decoded = isinstance(frame, av.VideoFrame)
    height, width = (frame.height, frame.width) if is_decoded else frame.shape[:2]
    factor = SMALL_SIDE / max(height, width)
    size = tuple(max(2, 2 * round(side * factor / 2)) for side in (width, height))
    if is_decoded:
        small = reformatter.reformat(frame, *size, format="rgb24", interpolation="AREA")
        return small.to_ndarray()
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
