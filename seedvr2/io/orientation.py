"""How a decoded frame is turned upright: the display matrix of its file, which decoders carry but do not apply."""

from typing import NamedTuple, Self

import av
import numpy as np


class Orientation(NamedTuple):
    """A quarter turn or a flip: exchange lines and columns first, then reverse each row, then the order of rows."""

    is_transposed: bool = False
    reverses_columns: bool = False
    reverses_rows: bool = False
    is_oblique: bool = False  # the file asks for an angle between quarter turns, of which this is the nearest

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Self:
        """The orientation that the display matrix of a frame asks for; none without a matrix."""
        for data in side_data_of(frame):
            if data.type.name == "DISPLAYMATRIX":
                # A point (x, y) of the frame is shown at (a x + c y, b x + d y), in units of 1/65536.
                a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
                largest, smallest = max(abs(a), abs(b)), min(abs(a), abs(b))
                is_oblique = smallest > largest / 100
                if abs(b) > abs(a):
                    return cls(True, c < 0, b < 0, is_oblique)
                return cls(False, a < 0, d < 0, is_oblique)
        turns = round(getattr(frame, "rotation", 0) / 90) % 4  # of a matrix among data that cannot be read
        return (cls(), cls(True, False, True), cls(False, True, True), cls(True, True, False))[turns]

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """(H,W,…) as stored -> upright, contiguous."""
        if self.is_transposed:
            picture = picture.swapaxes(0, 1)
        if self.reverses_columns:
            picture = picture[:, ::-1]
        if self.reverses_rows:
            picture = picture[::-1]
        return np.ascontiguousarray(picture)


def side_data_of(frame: av.VideoFrame) -> list:
    """What comes with a frame beside its picture; nothing if PyAV does not know one of its kinds."""
    try:
        return list(frame.side_data)
    except ValueError:
        return []
