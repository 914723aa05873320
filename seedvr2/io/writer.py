"""Video writing with PyAV: visually lossless H.264, tagged BT.709, with the rate and sound of its source; or FFV1.

A file is written under a temporary name beside its final one and renamed when complete, so a file that exists is whole.
"""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np

from seedvr2.errors import UserError
from seedvr2.io.audio import AudioCopy
from seedvr2.io.clock import FrameClock
from seedvr2.io.reader import media_name

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
# mbtree makes equal frames differ in their bytes from run to run.
VISUALLY_LOSSLESS = {"crf": "14", "preset": "medium", "x264-params": "mbtree=0"}
EXACT = {"g": "1"}  # every FFV1 frame stands alone, so that any can be sought
BT709 = 1  # FFmpeg's number for the matrix, the primaries and the transfer curve alike
LIMITED_RANGE = 1
LONGEST_NAME = 255 - len("..part")  # bytes that file systems allow, less those of the temporary name


class VideoWriter:
    """Streams uint8 RGB frames into a video file; a context manager.

    The file appears under its name when the block ends without an exception; otherwise nothing is left. Even sizes are
    written as yuv420p, odd ones as yuv444p because 4:2:0 cannot hold them; lossless ones as RGB. `notes` says in plain
    sentences what the container forced. Raises UserError for an unknown suffix or a place that cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        width: int,
        height: int,
        rate: Fraction | None,
        time_base: Fraction | None = None,
        sample_aspect: Fraction = Fraction(1),
        sound_of: Path | None = None,
        is_lossless: bool = False,
    ):
        """rate: frames per second; time_base: seconds per unit of the `pts` given to `write`.

        sample_aspect: width over height of a pixel. sound_of: the file whose sound is copied, None for silence.
        is_lossless: write the very RGB values, as FFV1 into .mkv, with the same bytes each time.
        """
        self.path = Path(path)
        self.notes: list[str] = []
        self._size = (height, width)
        self._is_lossless = is_lossless
        self._partial = self.path.with_name(f".{self.path.name}.part")
        self._sound: AudioCopy | None = None
        self._container = self._opened()
        try:
            if sound_of is not None:
                self._sound = AudioCopy(Path(sound_of), self._container)
            origin = self._sound.origin if self._sound and self._sound.streams else None
            self._clock = FrameClock(rate, time_base=time_base, origin=origin)
            self._pictures = self._picture_stream(rate, sample_aspect)
            with self._disk_errors():
                self._container.start_encoding()
        except BaseException:
            self._discard()
            raise
        self._note_conversions(sample_aspect)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._finish()
        except BaseException:
            self._discard()
            raise

    def write(self, frame: np.ndarray, *, pts: int | None = None) -> None:
        """Append a uint8 (H,W,3) RGB frame at time stamp `pts`, or at the constant rate if None."""
        assert (frame.shape, frame.dtype) == ((*self._size, 3), np.uint8), f"{frame.shape} {frame.dtype}"
        tick = self._clock.tick(pts)
        colours = {} if self._is_lossless else {"dst_colorspace": "ITU709", "dst_color_range": "MPEG"}
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=self._pictures.pix_fmt, **colours)
        picture.pts, picture.time_base = tick, self._clock.time_base
        with self._disk_errors():
            if self._sound:
                self._sound.advance(tick * self._clock.time_base)
            self._container.mux(self._pictures.encode(picture))

    def _opened(self) -> av.container.OutputContainer:
        container_format = video_format(self.path)
        if self._is_lossless and container_format != "matroska":
            raise UserError(f"{self.path.name} cannot hold lossless video; end it in .mkv")
        check_writable(self.path)
        # The index in front lets a browser play while it loads.
        options = {} if container_format == "matroska" else {"movflags": "faststart"}
        if self._is_lossless:
            options = {"fflags": "+bitexact"}  # no random identifiers
        try:
            return av.open(media_name(self._partial), "w", format=container_format, options=options)
        except OSError as error:
            raise UserError(f"{self.path} cannot be written ({error.strerror}); choose another place") from error

    def _picture_stream(self, rate: Fraction | None, sample_aspect: Fraction) -> av.VideoStream:
        height, width = self._size
        codec, options = ("ffv1", EXACT) if self._is_lossless else ("libx264", VISUALLY_LOSSLESS)
        stream = self._container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = width, height
        context = stream.codec_context
        context.time_base = stream.time_base = self._clock.time_base
        context.sample_aspect_ratio = sample_aspect
        if self._is_lossless:
            stream.pix_fmt = "bgr0"
        else:
            stream.pix_fmt = "yuv420p" if width % 2 == height % 2 == 0 else "yuv444p"
            context.color_primaries = context.color_trc = context.colorspace = BT709
            context.color_range = LIMITED_RANGE
        return stream

    def _note_conversions(self, sample_aspect: Fraction) -> None:
        if self._is_lossless and sample_aspect != 1:  # PyAV leaves it to the codec
            self.notes.append(f"the pixels are {sample_aspect} times as wide as high, which FFV1 does not keep")
        if self._pictures.pix_fmt == "yuv444p":
            height, width = self._size
            self.notes.append(f"{width}x{height} is odd, so the video is 4:4:4, which some players cannot show")
        for codec in self._sound.reencoded if self._sound else ():
            self.notes.append(f"{codec} sound does not fit into {self.path.suffix}, so it is re-encoded as AAC")

    def _finish(self) -> None:
        with self._disk_errors():
            self._container.mux(self._pictures.encode(None))
            if self._sound:
                self._sound.advance(None)
                self._sound.close()
            self._container.close()
            self._partial.replace(self.path)

    def _discard(self) -> None:
        # Closing writes a trailer, which fails on a full disk or before a header; the file goes away in any case.
        with contextlib.suppress(av.FFmpegError, OSError):
            self._container.close()
        if self._sound:
            self._sound.close()
        self._partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = f"{self.path} cannot be written ({error.strerror})"
            raise UserError(f"{reason}; make room there or choose another place") from error


def video_format(path: Path) -> str:
    """FFmpeg's name of the container for a file name; raises UserError for one that cannot hold H.264."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"{path.name} does not end in {', '.join(FORMATS)}; give the output one of these endings")
    return FORMATS[suffix]


def check_writable(path: Path) -> None:
    """Raise UserError unless a new file can be made at `path`."""
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise UserError(f"the name {path.name} is too long; give one of at most {LONGEST_NAME} bytes")
    if path.is_dir():
        raise UserError(f"{path} is a folder; give a file name")
    if not path.parent.is_dir():
        raise UserError(f"the folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"the folder {path.parent} is not writable; choose another place")
