"""Pictures that come from image files: a still, an animated WebP, or a folder of numbered frames."""

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from seedvr2.errors import UserError
from seedvr2.io.natural_order import numbered_frames, numbers_in
from seedvr2.io.picture import Colors, MediaInfo, Picture
from seedvr2.io.samples import FULL, depth_note, rescaled
from seedvr2.io.stills import UNREADABLE, StillHeader, read_still, still_header

USUAL_RATE = Fraction(24)
MILLISECOND = Fraction(1, 1000)
USUAL_DELAY = 100  # milliseconds that browsers show a picture whose delay is given as 0

_log = logging.getLogger(__name__)


class FramesSource:
    """One image, or the numbered frames of a folder at a rate; all of one size, the deepest file's depth for all."""

    def __init__(self, path: Path, files: list[Path], *, bits: int | None, rate: Fraction | None):
        """files: the pictures in their order; rate: frames per second, None for a still."""
        self.damaged, self.is_truncated = 0, False
        self._files, self._rate = files, rate
        headers = [still_header(file) for file in files]
        first = headers[0]
        for file, header in zip(files, headers, strict=True):
            if (header.height, header.width) != (first.height, first.width):
                raise UserError(
                    f"{file} has {header.width}x{header.height} pixels and {files[0].name} has "
                    f"{first.width}x{first.height}; give frames of one size, or pictures by a pattern such as "
                    f"{file.with_name('*' + file.suffix)}"
                )
        depth = max(header.bits for header in headers)
        self._bits = bits or depth
        self.notes = list(dict.fromkeys(note for header in headers for note in header.notes))
        self.notes += depth_note(depth, self._bits) + self._gaps()
        self.info = _info(
            path,
            first._replace(bits=depth, has_alpha=any(header.has_alpha for header in headers)),
            kind="image" if rate is None else "frames",
            rate=rate,
            time_base=Fraction(1) if rate is None else 1 / rate,
            frames=len(files),
        )

    def pictures(self) -> Iterator[Picture]:
        """Every picture; a damaged file raises UserError, so that no frame is missing unseen."""
        for number, file in enumerate(self._files):
            rgb, alpha = read_still(file)
            depth = rgb.dtype.itemsize * 8
            if self.info.has_alpha:
                alpha = np.full(rgb.shape[:2], 2**depth - 1, rgb.dtype) if alpha is None else alpha
                alpha = rescaled(alpha, depth, self._bits)
            pts = None if self._rate is None else number
            yield Picture(rescaled(rgb, depth, self._bits), alpha if self.info.has_alpha else None, pts)

    def close(self) -> None:
        """Nothing is open between pictures."""

    def _gaps(self) -> list[str]:
        # Missing numbers tell something where exactly one number of the names counts up.
        if self._rate is None:
            return []
        columns = zip(*(numbers_in(file.stem) for file in self._files), strict=True)
        counting = [column for column in columns if len(set(column)) > 1]
        missing = counting[0][-1] - counting[0][0] + 1 - len(self._files) if len(counting) == 1 else 0
        return (
            [f"{missing} numbers are missing among the frames, and nothing was put in their place"] if missing else []
        )


class AnimationSource:
    """An animated WebP, which FFmpeg cannot decode: Pillow's composed pictures, stamped in milliseconds."""

    def __init__(self, path: Path, header: StillHeader, *, bits: int | None):
        self.damaged, self.is_truncated = 0, False
        self._path, self._bits = path, bits or 8
        self._image = Image.open(path)
        self._image.load()
        delay = self._delay()
        self.notes = list(header.notes)
        self.info = _info(
            path,
            header,
            kind="video",
            rate=1 / (delay * MILLISECOND),
            time_base=MILLISECOND,
            frames=header.frames,
            duration=delay * header.frames / 1000,
        )

    def pictures(self) -> Iterator[Picture]:
        """Every picture; reading stops at the first that is damaged, which counts as the end of a truncated file."""
        stamp = 0
        for number in range(self.info.frames):
            try:
                self._image.seek(number)
                self._image.load()
            except (*UNREADABLE, EOFError):
                self.is_truncated = True
                self.notes.append(f"the file ends early, after {number} of {self.info.frames} pictures")
                _log.warning("%s ends early, after %d of %d pictures", self._path, number, self.info.frames)
                return
            samples = np.array(self._image.convert("RGBA" if self.info.has_alpha else "RGB"))
            alpha = rescaled(np.ascontiguousarray(samples[..., 3]), 8, self._bits) if self.info.has_alpha else None
            yield Picture(rescaled(np.ascontiguousarray(samples[..., :3]), 8, self._bits), alpha, stamp)
            stamp += self._delay()

    def close(self) -> None:
        """Close the file."""
        self._image.close()

    def _delay(self) -> int:
        return int(self._image.info.get("duration", 0)) or USUAL_DELAY


def folder_source(folder: Path, *, bits: int | None, rate: Fraction | None) -> FramesSource:
    """The numbered frames of a folder, at 24 frames per second if no rate is given; UserError if it has none."""
    files = numbered_frames(folder)
    if not files:
        raise UserError(
            f"{folder} is no folder of numbered frames; it takes at least two pictures of one format whose names "
            "differ in their numbers only"
        )
    return FramesSource(folder, files, bits=bits, rate=rate or USUAL_RATE)


def _info(
    path: Path,
    header: StillHeader,
    *,
    kind: str,
    rate: Fraction | None,
    time_base: Fraction,
    frames: int,
    duration: float | None = None,
) -> MediaInfo:
    return MediaInfo(
        path=path,
        kind=kind,
        width=header.width,
        height=header.height,
        bits=header.bits,
        has_alpha=header.has_alpha,
        rate=rate,
        time_base=time_base,
        frames=frames,
        duration=duration if duration is not None or rate is None else float(frames / rate),
        start=None if kind == "image" else 0,
        sample_aspect=Fraction(1),
        colors=Colors(range=FULL),
        codec=header.codec,
        pixel_format=header.pixel_format,
        is_interlaced=False,
        notes=(),
    )
