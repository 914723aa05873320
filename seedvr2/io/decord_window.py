"""Windows of a video by decord, for those who prefer it to PyAV (`pip install 'seedvr2[decord]'`)."""

from pathlib import PurePath
from typing import IO

import numpy as np

from seedvr2.errors import UserError


def read_with_decord(path: str | PurePath, start: int, count: int, *, file: IO[bytes] | None = None) -> np.ndarray:
    """Frames start … start+count-1 as uint8 (count,H,W,3) RGB, turned upright.

    `file` is read in place of the file at `path`. decord counts the frames that an edit list leaves out, and converts
    HD without colour tags as BT.601, so frames and colours can differ from those of PyAV. Raises UserError if decord is
    not installed, or cannot read these frames.
    """
    try:
        import decord  # optional
    except ImportError as error:
        raise UserError("reader is 'decord', which is not installed: pip install 'seedvr2[decord]'") from error
    try:
        reader = decord.VideoReader(file if file is not None else str(path), num_threads=1)
        return reader.get_batch(range(start, start + count)).asnumpy()
    except (decord.DECORDError, IndexError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise UserError(f"decord cannot read frames {start} to {start + count - 1} of {path} ({reason})") from error
