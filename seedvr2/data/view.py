"""Cutting training clips out of larger pictures: random crops, shrinking, and slow camera moves over still images."""

import cv2
import numpy as np

from seedvr2.errors import UserError

Range = tuple[float, float]
LARGEST_ZOOM = 0.005  # logarithmic, per frame


def shrink_factor(rng: np.random.Generator, shrink: Range, *, size: tuple[int, int], view: tuple[int, int]) -> float:
    """A factor of the range by which a picture of `size` can be reduced and still fill the `view` (height, width).

    Raises UserError if even the smallest factor does not leave enough pixels.
    """
    largest = min(size[0] / view[0], size[1] / view[1])
    if largest < shrink[0]:
        raise UserError(
            f"a picture of {size[0]}x{size[1]} is too small for {view[0]}x{view[1]} after reduction by {shrink[0]:g}; "
            "use larger pictures or smaller clips"
        )
    return float(rng.uniform(shrink[0], min(shrink[1], largest)))


def random_crop(rng: np.random.Generator, clip: np.ndarray, view: tuple[int, int], *, shrink: Range) -> np.ndarray:
    """A random part of a uint8 (T,H,W,3) clip, averaged down to the view: float32 (T,h,w,3) in [0,1]."""
    factor = shrink_factor(rng, shrink, size=clip.shape[1:3], view=view)
    height, width = (min(round(side * factor), full) for side, full in zip(view, clip.shape[1:3], strict=True))
    top = int(rng.integers(clip.shape[1] - height + 1))
    left = int(rng.integers(clip.shape[2] - width + 1))
    result = np.empty((len(clip), *view, clip.shape[3]), np.float32)
    for frame, target in zip(clip[:, top : top + height, left : left + width], result, strict=True):
        part = np.divide(frame, np.float32(255), dtype=np.float32)
        if (height, width) == tuple(view):
            target[:] = part
        else:
            cv2.resize(part, view[::-1], dst=target, interpolation=cv2.INTER_AREA)
    return result


def camera_move(
    rng: np.random.Generator, picture: np.ndarray, frames: int, view: tuple[int, int], *, shrink: Range, pan: float
) -> np.ndarray:
    """A pan and slow zoom over a uint8 (H,W,3) picture: float32 (frames,h,w,3) in [0,1].

    The view stays inside the picture and moves steadily by fractions of a pixel, by at most `pan` of its shorter side
    per frame.
    """
    size, side = np.array(picture.shape[:2]), np.array(view)
    first = shrink_factor(rng, shrink, size=picture.shape[:2], view=view)
    last = first * np.exp(rng.uniform(-LARGEST_ZOOM, LARGEST_ZOOM) * (frames - 1))
    last = float(np.clip(last, shrink[0], (size / side).min()))
    # Centres are free where the larger of the two views still fits.
    margin = max(first, last) * side / 2
    start = rng.uniform(margin, np.maximum(size - margin, margin))
    angle, speed = rng.uniform(-np.pi, np.pi), rng.uniform(0, pan) * min(view) * first
    path = np.array([np.sin(angle), np.cos(angle)]) * speed * (frames - 1)
    end = np.clip(start + path, margin, np.maximum(size - margin, margin))
    # Averaging down first leaves a factor close to one for the interpolation, which would alias otherwise.
    reduced, base = _reduced(picture, min(first, last))
    steps = np.linspace(0, 1, frames)[:, None]
    centres = (start + (end - start) * steps) / base
    factors = (first + (last - first) * steps) / base
    clip = [_sampled(reduced, centre, factor, view) for centre, factor in zip(centres, factors, strict=True)]
    return np.clip(np.stack(clip), 0, 1)


def _reduced(picture: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    # The picture averaged down by about the factor, and the exact factors per axis.
    size = np.array(picture.shape[:2])
    small = np.maximum(np.floor(size / max(factor, 1)), 1).astype(int)
    floats = picture.astype(np.float32) / np.float32(255)
    if factor > 1:
        floats = cv2.resize(floats, (int(small[1]), int(small[0])), interpolation=cv2.INTER_AREA)
    return floats, size / np.array(floats.shape[:2])


def _sampled(picture: np.ndarray, centre: np.ndarray, factor: np.ndarray, view: tuple[int, int]) -> np.ndarray:
    # Pixel i covers [i, i+1), so a centre in edge coordinates lies half a pixel before that of pixel centres.
    corner = centre - factor * np.array(view) / 2 + factor / 2 - 0.5
    placement = np.array([[factor[1], 0, corner[1]], [0, factor[0], corner[0]]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, placement, view[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT_101)
