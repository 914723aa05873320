"""Video decoding with PyAV: upright RGB frames with their time stamps, streamed.

The file's own header is never trusted: edit lists, missing durations and damage make its frame count a hint only, so
frames are counted by reading. PyAV neither rotates frames nor guesses HD colour, hence both happen here.
"""

import logging
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Self

import av
import numpy as np

from seedvr2.errors import UserError

UNSPECIFIED_COLORSPACE = 2
HIGH_DEFINITION_HEIGHT = 720
VIDEO_SUFFIX = re.compile(
    r"\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|m?ts|m2ts|wmv|flv|3gp|ogv|gif|y4m|h26[45]|mxf|vob)", re.IGNORECASE
)
HIGH_DYNAMIC_RANGE_CURVES = (16, 18)  # PQ, HLG

_log = logging.getLogger(__name__)


class VideoInfo(NamedTuple):
    """What a video says about itself; sizes are those of the upright picture, colour values are FFmpeg's numbers."""

    path: Path
    width: int
    height: int
    rotation: int  # degrees counter-clockwise (0, 90, 180, 270) that the reader has already applied
    frames: int  # the container's number, a hint only; 0 if unknown
    rate: Fraction | None  # frames per second; None if unknown
    time_base: Fraction  # seconds per unit of a frame's pts
    start: int | None  # pts of the first frame; None without time stamps
    duration: float | None  # seconds; None if unknown
    sample_aspect: Fraction  # width of an upright pixel divided by its height
    codec: str
    pixel_format: str
    bits: int
    colorspace: int  # matrix: 1 BT.709, 5 and 6 BT.601, 9 BT.2020, 2 untagged
    color_primaries: int
    color_curve: int  # transfer characteristics: 16 PQ, 18 HLG
    color_range: int  # 1 limited, 2 full, 0 untagged
    is_interlaced: bool
    has_audio: bool

    @property
    def is_high_dynamic_range(self) -> bool:
        """Whether the samples follow a PQ or HLG curve, which conversion to RGB does not tone-map."""
        return self.color_curve in HIGH_DYNAMIC_RANGE_CURVES


class Video:
    """An open video: `.info`, and `.frames()` once.

    `damaged` counts the packets and frames that decoded with errors so far; `is_truncated` says that reading ended
    before the end of the file. Raises UserError if the file is missing, empty, undecodable or has no video stream.
    """

    def __init__(self, path: str | Path, *, threads: int = 0):
        self.path = existing_file(path)
        self.damaged = 0
        self.is_truncated = False
        self._is_used = False
        try:
            self._container = av.open(media_name(self.path))
        except av.FFmpegError as error:
            raise UserError(f"{self.path} cannot be read as a video ({error.strerror}); check the file") from error
        try:
            self._stream = main_stream(self._container, self.path)
            self._stream.thread_type = "AUTO"
            self._stream.codec_context.thread_count = threads
            self._pending = self._decode()
            self._first = next(self._pending, None)
            if self._first is None:
                raise UserError(f"{self.path} has a video stream but no frame of it can be decoded; check the file")
            self.info = _describe(self._container, self._stream, self._first, self.path)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the frame iterator ends with it."""
        self._container.close()

    def frames(self, *, bits: int = 8) -> Iterator[tuple[np.ndarray, int | None]]:
        """Yield (upright RGB frame, pts) in display order; one use per opened video.

        The array is uint8 (H,W,3), or uint16 with `bits=16`. H and W follow the stream and may change inside a file.
        The pts counts `info.time_base` units and is None in streams without time stamps.
        """
        for frame in self.decoded():
            yield rgb(frame, bits=bits), frame.pts

    def decoded(self) -> Iterator[av.VideoFrame]:
        """Yield the decoder's own frames, for callers that skip some or need the planes; one use per opened video."""
        assert not self._is_used, "the frames of this video were already read; open it again"
        self._is_used = True
        yield self._first
        yield from self._pending
        if self.damaged or self.is_truncated:
            ending = ", and it ends early" if self.is_truncated else ""
            _log.warning("%s is damaged: %d decoding errors%s", self.path, self.damaged, ending)

    def seek(self, pts: int) -> bool:
        """Let reading start at the last keyframe at or before `pts`; False if nothing can be decoded from there."""
        try:
            self._container.seek(pts, stream=self._stream, backward=True)
        except av.FFmpegError:
            return False
        self._pending = self._decode()
        self._first = next(self._pending, None)
        return self._first is not None

    def _decode(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:
                self.is_truncated = True
                return
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.damaged += 1
                continue
            for frame in frames:
                self.damaged += int(frame.is_corrupt)
                yield frame


def is_video(path: str | Path) -> bool:
    """Whether the file name says video; the content is not read."""
    return VIDEO_SUFFIX.fullmatch(Path(path).suffix) is not None


def open_video(path: str | Path, *, threads: int = 0) -> Video:
    """Open a video for streaming, as a context manager; `threads` is the decoder's (0 = one per core)."""
    return Video(path, threads=threads)


def read_frames(path: str | Path, *, threads: int = 0) -> Iterator[np.ndarray]:
    """Yield every frame of a video as uint8 (H,W,3) RGB, upright. Errors: see `Video`."""
    with open_video(path, threads=threads) as video:
        for frame, _ in video.frames():
            yield frame


def existing_file(path: str | Path) -> Path:
    """The path of a readable, non-empty file; raises UserError otherwise."""
    path = Path(path)
    if not os.path.exists(path):  # unlike Path.exists, False for names that are too long
        raise UserError(f"{path} does not exist; check the path")
    if not path.is_file():
        raise UserError(f"{path} is not a file; give a file")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty; check the file")
    return path


def media_name(path: Path) -> str:
    """A path as FFmpeg takes it: absolute, because it would read the beginning of `12:30.mp4` as a protocol."""
    return str(path.absolute())


def rgb(frame: av.VideoFrame, *, bits: int = 8) -> np.ndarray:
    """The upright RGB picture of a decoded frame, uint8 (H,W,3) or uint16 with `bits=16`; alpha is dropped."""
    # FFmpeg converts untagged frames as BT.601 whatever their height; untagged HD is BT.709 in practice.
    is_untagged = frame.colorspace == UNSPECIFIED_COLORSPACE and not frame.format.is_rgb
    matrix = "ITU709" if is_untagged and frame.height >= HIGH_DEFINITION_HEIGHT else None
    array = frame.to_ndarray(format={8: "rgb24", 16: "rgb48le"}[bits], src_colorspace=matrix)
    turns = _quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(array, k=turns)) if turns else array


def _quarter_turns(frame: av.VideoFrame) -> int:
    return round(frame.rotation / 90) % 4


def _fraction(rational: object) -> Fraction | None:
    # PyAV >= 19 reports an unset rational as a falsy 0/1, earlier versions as None.
    return Fraction(rational.numerator, rational.denominator) if rational else None


def main_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The default video stream that is not a cover picture; raises UserError if there is none."""
    streams = [stream for stream in container.streams.video if not _has_disposition(stream, "attached_pic")]
    if not streams:
        raise UserError(f"{path} has no video stream; give a video file")
    return next((stream for stream in streams if _has_disposition(stream, "default")), streams[0])


def _has_disposition(stream: av.VideoStream, name: str) -> bool:
    return bool(stream.disposition & av.stream.Disposition[name])


def _describe(
    container: av.container.InputContainer, stream: av.VideoStream, frame: av.VideoFrame, path: Path
) -> VideoInfo:
    turns = _quarter_turns(frame)
    width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
    aspect = _fraction(stream.sample_aspect_ratio) or Fraction(1)
    time_base = _fraction(stream.time_base) or Fraction(1, av.time_base)
    seconds = float(stream.duration * time_base) if stream.duration else None
    if seconds is None and container.duration:
        seconds = container.duration / av.time_base
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        rotation=90 * turns,
        frames=stream.frames,
        rate=_fraction(stream.guessed_rate) or _fraction(stream.average_rate),
        time_base=time_base,
        start=frame.pts,
        duration=seconds,
        sample_aspect=1 / aspect if turns % 2 else aspect,
        codec=stream.codec_context.name,
        pixel_format=frame.format.name,
        bits=max(component.bits for component in frame.format.components),
        colorspace=int(frame.colorspace),
        color_primaries=int(frame.color_primaries),
        color_curve=int(frame.color_trc),
        color_range=int(frame.color_range),
        is_interlaced=frame.interlaced_frame,
        has_audio=bool(container.streams.audio),
    )
