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
from typing import IO, NamedTuple, Self

import av
import numpy as np

from seedvr2.errors import UserError
from seedvr2.io.orientation import Orientation

UNSPECIFIED_COLORSPACE = 2
HIGH_DEFINITION_HEIGHT = 720
VIDEO_SUFFIX = re.compile(
    r"\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|m?ts|m2ts|wmv|flv|3gp|ogv|gif|y4m|h26[45]|mxf|vob)", re.IGNORECASE
)
# Decoders that paint over damage, though not with slices in parallel.
CONCEALING = re.compile(r"h26[134]|mpeg[124]|msmpeg4|wmv|vc1|flv1?$|rv[1-4]0")
# PyAV 19 reads any tags and no longer takes the argument.
_LENIENT = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
HIGH_DYNAMIC_RANGE_CURVES = (16, 18)  # PQ, HLG

_log = logging.getLogger(__name__)


class VideoInfo(NamedTuple):
    """What a video says about itself; sizes are those of the upright picture, colour values are FFmpeg's numbers."""

    path: Path
    width: int
    height: int
    rotation: int  # degrees counter-clockwise (0, 90, 180, 270), without flips; the reader has already applied both
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

    @property
    def is_high_dynamic_range(self) -> bool:
        """Whether the samples follow a PQ or HLG curve, which conversion to RGB does not tone-map."""
        return self.color_curve in HIGH_DYNAMIC_RANGE_CURVES


class Video:
    """An open video: `.info`, and `.frames()` once.

    `file` is read in place of the file at `path`, which then is a name only; whoever opened it closes it. `decoder`
    takes the place of FFmpeg's own choice. `in_order` decodes one frame after the other, which is slower; otherwise a
    bad packet takes good frames along, and damage is concealed differently from run to run.

    `damaged` counts the packets and frames that decoded with errors so far: a broken frame is delivered, a packet
    without any picture is not. `is_truncated` says that reading ended before the end of the file. `alpha_decoder` is
    the decoder to ask for where FFmpeg's own choice drops the transparency, None elsewhere. Raises UserError if the
    file is missing, empty, undecodable or has no video stream.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        file: IO[bytes] | None = None,
        decoder: str | None = None,
        threads: int = 0,
        in_order: bool = False,
    ):
        self.path = existing_file(path) if file is None else Path(path)
        self.damaged = 0
        self.is_truncated = False
        self._is_used = False
        try:
            self._container = open_container(self.path if file is None else file)
        except av.FFmpegError as error:
            raise UserError(f"{self.path} cannot be read as a video ({error.strerror}); check the file") from error
        try:
            self._stream = main_stream(self._container, self.path)
            self.alpha_decoder = _alpha_decoder(self._stream)
            self._decoder = av.CodecContext.create(decoder, "r") if decoder else self._stream.codec_context
            self._decoder.thread_type = "SLICE" if in_order else "AUTO"
            self._decoder.thread_count = 1 if in_order and CONCEALING.match(self._decoder.name) else threads
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

    @property
    def streams(self) -> int:
        """How many video streams the file has, cover pictures left out."""
        return len(_moving_streams(self._container))

    @property
    def first(self) -> av.VideoFrame:
        """The frame that reading starts with, not turned upright."""
        return self._first

    def seek(self, pts: int) -> bool:
        """Let reading start at the last keyframe at or before `pts`; False if nothing can be decoded from there."""
        try:
            self._container.seek(pts, stream=self._stream, backward=True)
        except av.FFmpegError:
            return False
        self._pending = self._decode(wanted=pts)
        self._first = next(self._pending, None)
        return self._first is not None

    def _decode(self, wanted: int | None = None) -> Iterator[av.VideoFrame]:
        # Before `wanted` only what later frames refer to is decoded.
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:
                self.is_truncated = True
                yield from self._decoded(None)
                return
            is_early = wanted is not None and packet.pts is not None and packet.pts < wanted
            self._decoder.skip_frame = "NONREF" if is_early else "DEFAULT"
            yield from self._decoded(packet)

    def _decoded(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        # None gives what the decoder still holds.
        try:
            frames = self._decoder.decode(packet)
        except av.FFmpegError as error:
            self.damaged += not isinstance(error, av.EOFError)
            return []
        self.damaged += sum(frame.is_corrupt for frame in frames)
        return frames


def is_video(path: str | Path) -> bool:
    """Whether the file name says video; the content is not read."""
    return VIDEO_SUFFIX.fullmatch(Path(path).suffix) is not None


def open_video(path: str | Path, *, file: IO[bytes] | None = None, threads: int = 0) -> Video:
    """Open a video for streaming, as a context manager; `threads` is the decoder's (0 = one per core)."""
    return Video(path, file=file, threads=threads)


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
    return Orientation.of(frame).apply(array)


def _fraction(rational: object) -> Fraction | None:
    # PyAV >= 19 reports an unset rational as a falsy 0/1, earlier versions as None.
    return Fraction(rational.numerator, rational.denominator) if rational else None


def open_container(source: Path | IO[bytes]) -> av.container.InputContainer:
    """A file, or an open one, for reading. Raises av.FFmpegError; tags in unknown alphabets are no reason to."""
    return av.open(media_name(source) if isinstance(source, Path) else source, **_LENIENT)


def main_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The default video stream that is not a cover picture; raises UserError if there is none."""
    streams = _moving_streams(container)
    if not streams:
        raise UserError(f"{path} has no video stream of a known codec; give a video file")
    return next((stream for stream in streams if _has_disposition(stream, "default")), streams[0])


def _moving_streams(container: av.container.InputContainer) -> list[av.VideoStream]:
    # a stream of a codec that FFmpeg does not know has no context
    known = [stream for stream in container.streams.video if stream.codec_context is not None]
    return [stream for stream in known if not _has_disposition(stream, "attached_pic")]


def _has_disposition(stream: av.VideoStream, name: str) -> bool:
    return bool(stream.disposition & av.stream.Disposition[name])


def _alpha_decoder(stream: av.VideoStream) -> str | None:
    # Transparency of WebM travels beside the picture, where only the library of the format's makers looks for it.
    marks = {value for key, value in stream.metadata.items() if key.lower() == "alpha_mode"}
    return {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name) if marks == {"1"} else None


def _describe(
    container: av.container.InputContainer, stream: av.VideoStream, frame: av.VideoFrame, path: Path
) -> VideoInfo:
    is_turned = Orientation.of(frame).is_transposed
    width, height = (frame.height, frame.width) if is_turned else (frame.width, frame.height)
    aspect = _fraction(stream.sample_aspect_ratio) or Fraction(1)
    time_base = _fraction(stream.time_base) or Fraction(1, av.time_base)
    seconds = float(stream.duration * time_base) if stream.duration else None
    if seconds is None and container.duration:
        seconds = container.duration / av.time_base
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        rotation=90 * (round(frame.rotation / 90) % 4),
        frames=stream.frames,
        rate=_fraction(stream.guessed_rate) or _fraction(stream.average_rate),
        time_base=time_base,
        start=frame.pts,
        duration=seconds,
        sample_aspect=1 / aspect if is_turned else aspect,
        codec=stream.codec_context.name,
        pixel_format=frame.format.name,
        bits=max(component.bits for component in frame.format.components),
        colorspace=int(frame.colorspace),
        color_primaries=int(frame.color_primaries),
        color_curve=int(frame.color_trc),
        color_range=int(frame.color_range),
        is_interlaced=frame.interlaced_frame,
    )
