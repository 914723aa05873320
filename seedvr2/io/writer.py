"""A video file written at once: visually lossless H.264, or FFV1 with the very RGB values, and a source's sound."""

import contextlib
import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from seedvr2.errors import UserError
from seedvr2.io.clock import FrameClock
from seedvr2.io.encoding import choose_encoding
from seedvr2.io.files import remove
from seedvr2.io.mux import assemble
from seedvr2.io.picture import Colors, MediaInfo, Picture
from seedvr2.io.segments import SegmentWriter
from seedvr2.io.streams import source_origin

LONGEST_NAME = 255 - len("..") - len(".segment.part")  # bytes that file systems allow, less those of the temporary name


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
        check_writable(self.path)
        rate = None if rate is None else Fraction(rate)
        self._source = _stand_in(Path(sound_of) if sound_of else self.path, width, height, rate)
        codec = "ffv1" if is_lossless else "h264"
        self._encoding = choose_encoding(self.path, self._source, width=width, height=height, codec=codec)
        self.notes = list(self._encoding.notes)
        self._has_sound, self._sample_aspect = sound_of is not None, sample_aspect
        origin = source_origin(self._source.path) if self._has_sound else None
        self._clock = FrameClock(rate, time_base=time_base, origin=origin)
        self._segment = self.path.with_name(f".{self.path.name}.segment")
        size = {"width": width, "height": height}
        self._writer = SegmentWriter(
            self._segment, self._encoding, **size, clock=self._clock, sample_aspect=sample_aspect
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as cleaning:
            cleaning.callback(remove, self._segment)
            self._writer.__exit__(kind, error, trace)
            if kind is None:
                source = self._source if self._has_sound else None
                how = {"source": source, "clock": self._clock, "sample_aspect": self._sample_aspect}
                self.notes += assemble(self.path, [self._segment], self._encoding, **how)

    def write(self, frame: np.ndarray, *, pts: int | None = None) -> None:
        """Append a uint8 (H,W,3) RGB frame at time stamp `pts`, or at the constant rate if None."""
        self._writer.write(Picture(frame), self._clock.tick(pts))


def check_writable(path: Path) -> None:
    """Raise UserError unless a new file can be made at `path`."""
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise UserError(f"the name {path.name} is too long; give one of at most {LONGEST_NAME} bytes")
    if path.is_dir():
        raise UserError(f"{path} is a folder; give a file name")
    if not path.parent.is_dir():
        wrong = "is a file; give a folder" if path.parent.exists() else "does not exist; create it first"
        raise UserError(f"the folder {path.parent} {wrong}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"the folder {path.parent} is not writable; choose another place")


def _stand_in(path: Path, width: int, height: int, rate: Fraction | None) -> MediaInfo:
    # A source of 8-bit frames without tags, whose other streams are those of `path`.
    return MediaInfo(
        path=path,
        kind="video",
        width=width,
        height=height,
        bits=8,
        has_alpha=False,
        rate=rate,
        time_base=Fraction(1),
        frames=None,
        duration=None,
        start=None,
        sample_aspect=Fraction(1),
        colors=Colors(),
        codec="",
        pixel_format="",
        is_interlaced=False,
        notes=(),
    )
