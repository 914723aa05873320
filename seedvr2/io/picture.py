"""A frame on its way through the package, the colour tags that belong to it, and what is known of its source."""

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

UNTAGGED = 2  # FFmpeg's number for "unspecified" of the matrix, the primaries and the transfer curve


class Picture(NamedTuple):
    """An upright frame: `rgb` uint8 or uint16 (H,W,3), full range whatever the depth of its file; `alpha` (H,W) of the
    same type, None where opaque; `pts` in the source's time base, None without time stamps.

    A picture that comes from no file may be float32 in [0,1].
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    pts: int | None = None


class Colors(NamedTuple):
    """Colour tags as FFmpeg's numbers: matrix (1 BT.709, 5 and 6 BT.601, 9 BT.2020), primaries, transfer curve (16 PQ,
    18 HLG), and range (1 limited, 2 full, 0 untagged).
    """

    matrix: int = UNTAGGED
    primaries: int = UNTAGGED
    curve: int = UNTAGGED
    range: int = 0

    @property
    def is_high_dynamic_range(self) -> bool:
        """Whether the samples follow a PQ or HLG curve."""
        return self.curve in (16, 18)


class MediaInfo(NamedTuple):
    """What is known of a video, an image or a folder of frames before it is read.

    Sizes are upright. `frames` and `duration` (seconds) are the container's hints, None if unknown; only reading tells.
    """

    path: Path
    kind: str  # "video", "image" or "frames" (a folder of numbered pictures)
    width: int
    height: int
    bits: int  # of the file's samples, 8 to 16; EXR counts as 16
    has_alpha: bool  # the format carries transparency, be it opaque throughout
    rate: Fraction | None  # frames per second; None for an image or if unknown
    time_base: Fraction  # seconds per unit of a picture's pts; 1 for an image
    frames: int | None
    duration: float | None
    start: int | None  # pts of the first frame; None without time stamps
    sample_aspect: Fraction  # width of an upright pixel divided by its height
    colors: Colors  # the tags of the file
    codec: str
    pixel_format: str
    is_interlaced: bool  # in the file, whether or not it is delivered so
    notes: tuple[str, ...]  # plain sentences: what was decided or lost while reading
