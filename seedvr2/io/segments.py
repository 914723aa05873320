"""A segment: consecutive frames of an output, encoded on their own, so that work is never lost and joins are exact.

Each segment has an encoder of its own, that begins with a keyframe and knows nothing of the other segments. Frames
count up for the encoder whatever their time stamps, so its decisions do not depend on these. Its packets lie in a
Matroska file whose milliseconds stand for ticks of the output's clock: it keeps every stream property that counts, also
alpha beside VP9, and the ticks are whole numbers at any time base. `mux.assemble` puts the real times in.
"""

import contextlib
import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av

from seedvr2.errors import UserError
from seedvr2.io.clock import FrameClock
from seedvr2.io.encoding import Encoding
from seedvr2.io.files import disk_errors, remove
from seedvr2.io.picture import Picture
from seedvr2.io.planes import frame_of, padded
from seedvr2.io.priority import usual_priority
from seedvr2.io.reader import media_name
from seedvr2.io.sequences import write_numbered

MILLISECOND = Fraction(1, 1000)
EARLIEST = 2**31  # added to ticks, because Matroska holds no negative times
MOST_REORDERED = 128  # frames; no encoder looks further ahead with what it writes
ASSUMED_RATE = Fraction(25)  # for the encoder only, where the rate is unknown
BITEXACT = {"fflags": "+bitexact"}  # no random identifiers and no versions


class SegmentWriter:
    """Writes a segment; a context manager. The file, or the folder of pictures, appears when the block succeeds.

    Raises UserError if the place cannot be written, the disk is full, or the encoder does not take the size.
    """

    def __init__(
        self,
        path: Path,
        encoding: Encoding,
        *,
        width: int,
        height: int,
        clock: FrameClock,
        sample_aspect: Fraction = Fraction(1),
        first: int = 0,
    ):
        """width, height: of the pictures; clock: of the output; first: number of the first frame in the output."""
        self.path = Path(path)
        self.count = 0
        self._encoding = encoding
        self._size = (width, height)
        self._first = first
        self._ticks: list[int] = []
        self._written = 0
        self._partial = self.path.with_name(f".{self.path.name}.part")
        self._container: av.container.OutputContainer | None = None
        with disk_errors(self.path):
            remove(self._partial)
            if encoding.is_sequence:
                self._partial.mkdir(parents=True)
                return
            self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open(clock.rate or ASSUMED_RATE, sample_aspect)
        except BaseException:
            self._discard()
            raise

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

    def write(self, picture: Picture, tick: int) -> None:
        """Append a picture at a tick of the output's clock; ticks increase."""
        assert picture.rgb.shape[1::-1] == self._size, f"{picture.rgb.shape} is not {self._size}"
        assert not self._ticks or tick > self._ticks[-1], f"tick {tick} after {self._ticks[-1]}"
        self._ticks.append(tick)
        with disk_errors(self.path):
            if self._encoding.is_sequence:
                write_numbered(self._partial, self._first + self.count, picture, self._encoding)
            else:
                frame = frame_of(padded(picture, *self._stored), self._encoding.pixel_format, self._encoding.colors)
                frame.pts, frame.time_base = self.count, self._context.time_base
                self._mux(self._context.encode(frame))
        self.count += 1

    def _open(self, rate: Fraction, sample_aspect: Fraction) -> None:
        encoding = self._encoding
        self._stored = encoding.stored_size(*self._size)
        size = "{}x{}".format(*self._stored)
        if encoding.codec == "av1":
            os.environ.setdefault("SVT_LOG", "1")  # else its encoder tells its life on every start
        try:
            with disk_errors(self.path):
                self._container = av.open(media_name(self._partial), "w", format="matroska", options=BITEXACT)
                self._stream = self._container.add_stream(encoding.encoder, rate=rate, options=dict(encoding.options))
                self._stream.width, self._stream.height = self._stored
                self._stream.pix_fmt = encoding.pixel_format
                self._context = self._stream.codec_context
                self._context.time_base = 1 / rate
                set_tags(self._context, encoding, sample_aspect)
                with usual_priority():
                    self._container.start_encoding()
        except av.codec.codec.UnknownCodecError as error:
            raise UserError(f"this installation of PyAV has no {encoding.encoder}; choose another codec") from error
        except av.FFmpegError as error:
            raise UserError(f"{encoding.codec} does not take {size} pixels; choose another codec or size") from error

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            packet.stream, packet.time_base = self._stream, MILLISECOND
            packet.pts = EARLIEST + self._ticks[packet.pts]
            # The true decoding times are set when the segments are joined; these have only to increase before the pts.
            packet.dts = EARLIEST + self._ticks[0] - MOST_REORDERED + self._written
            packet.duration = 1
            self._container.mux(packet)
            self._written += 1

    def _finish(self) -> None:
        assert self.count, f"the segment {self.path} has no frames"
        with disk_errors(self.path):
            if self._container:
                self._mux(self._context.encode(None))
                self._container.close()
                _flush_to_disk(self._partial)
            remove(self.path)
            self._partial.replace(self.path)

    def _discard(self) -> None:
        # Closing writes a trailer, which fails on a full disk or before a header; the file goes away in any case.
        with contextlib.suppress(av.FFmpegError, OSError):
            if self._container:
                self._container.close()
        remove(self._partial)


def set_tags(context: av.VideoCodecContext, encoding: Encoding, sample_aspect: Fraction) -> None:
    """Put the colour tags and the shape of the pixels on a stream's codec context before the header is written."""
    context.sample_aspect_ratio = sample_aspect
    context.colorspace, context.color_primaries, context.color_trc, context.color_range = encoding.colors


def _flush_to_disk(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
