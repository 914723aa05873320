"""Sizes and resampling: the output size, bicubic resizing, and padding.

The released preprocessing scales to a target area and crops to multiples of 16, a rule that `evaluation/protocol.py`
keeps for comparisons; restoration pads instead, so that no content is lost.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from seedvr2.errors import UserError

LARGEST_SIDE = 16384  # the limit of H.264 encoders
DEFAULT_SCALE = 4.0


class Size(NamedTuple):
    """A picture's size in pixels."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def parse_size(text: str) -> Size:
    """The size written as WIDTHxHEIGHT, for instance 1280x720; raises UserError for anything else."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise UserError(f"--size {text} is not a size; write WIDTHxHEIGHT, for instance 1280x720")
    return Size(int(parts[1]), int(parts[0]))


def target_size(
    height: int,
    width: int,
    *,
    scale: float | None = None,
    short_side: int | None = None,
    size: tuple[int, int] | None = None,
    default: float = DEFAULT_SCALE,
) -> Size:
    """The output size of a height x width input, from one of a factor, a short side or an exact (height, width).

    default: the factor if there is none of them. Sides that do not come out whole are rounded to the nearest even
    number, which every video format can hold. Raises UserError for sizes that make no sense.
    """
    if (scale is not None) + (short_side is not None) + (size is not None) > 1:
        raise UserError("scale, short_side and size are three ways to say the same; give one of them")
    if short_side is None and size is None and scale is None:
        scale = default
    if size is not None:
        target, request = Size(*size), f"--size {Size(*size)}"
    elif short_side is not None:
        request = f"--short-side {short_side}"
        if short_side <= 0:
            raise UserError(f"{request} makes no sense; give a positive number of pixels")
        short = min(height, width)
        target = Size(*(short_side if side == short else _whole(side * short_side / short) for side in (height, width)))
    else:
        request = f"--scale {scale:g}"
        if not 0 < scale <= LARGEST_SIDE:
            raise UserError(f"{request} makes no sense; give a positive factor, for instance 4")
        target = Size(_whole(height * scale), _whole(width * scale))
    check_size(target, request=request, source=Size(height, width))
    return target


def check_size(size: Size, *, request: str, source: Size) -> None:
    """Raise UserError, naming the request and the input's size, for a size that no picture can have."""
    made = f"{request} makes an output of {size} pixels from {source}"
    if min(size) < 1:
        raise UserError(f"{made}; ask for a larger size")
    if max(size) > LARGEST_SIDE:
        raise UserError(f"{made}, and a side may have at most {LARGEST_SIDE}; ask for a smaller size")


def _whole(length: float) -> int:
    return int(length) if length == int(length) else 2 * round(length / 2)


def resize_frame(frame: np.ndarray, size: Size) -> torch.Tensor:
    """A (H,W,3) frame, uint8, uint16 or float32 in [0,1], as float (3,H',W') in [-1,1].

    It is resized as the released pipeline does.
    """
    picture = torch.from_numpy(np.require(frame, requirements="CW")).permute(2, 0, 1).float()
    if frame.dtype != np.float32:
        picture /= np.iinfo(frame.dtype).max
    return bicubic(picture[None], size)[0].clamp_(0, 1).mul_(2).sub_(1)


def resize_alpha(alpha: np.ndarray, size: Size) -> np.ndarray:
    """A uint8 or uint16 (H,W) transparency at another size, bicubic."""
    if alpha.shape == tuple(size):
        return alpha
    most = np.iinfo(alpha.dtype).max
    plane = torch.from_numpy(alpha.astype(np.float32) / most)
    return (bicubic(plane[None, None], size)[0, 0].clamp(0, 1) * most).round().numpy().astype(alpha.dtype)


def as_samples(frame: torch.Tensor, dtype: type[np.unsignedinteger]) -> np.ndarray:
    """A frame (3,H,W) in [-1,1] as uint8 or uint16 (H,W,3), clamped and rounded."""
    half = np.iinfo(dtype).max / 2
    return ((frame.clamp(-1, 1) + 1) * half).round().permute(1, 2, 0).contiguous().numpy().astype(dtype)


def bicubic(frames: torch.Tensor, size: Size) -> torch.Tensor:
    """(T,3,H,W) frames resized with the antialiased bicubic filter (a = -0.5); values may overshoot their range."""
    if tuple(frames.shape[-2:]) == tuple(size):
        return frames.clone()
    return F.interpolate(frames, tuple(size), mode="bicubic", antialias=True, align_corners=False)


def pad_to_multiple(frame: torch.Tensor, multiple: int) -> torch.Tensor:
    """(3,H,W) with its last row and column repeated until both sides are multiples; crop to [:, :H, :W] to undo."""
    height, width = frame.shape[-2:]
    return F.pad(frame[None], (0, -width % multiple, 0, -height % multiple), mode="replicate")[0]
