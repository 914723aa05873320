"""How outputs are compared with the ground truth (GT): which size they must have, and which part of the GT they show.

aligned: the LQ is enlarged by exactly the scale, padded to multiples of 16 by repeating its last row and column,
restored and cropped back, so that output and GT show the same. official_crop: the released code enlarges to an area of
1280x720 and cuts the centre to multiples of 16, which shifts and scales the output against the GT; it exists only to
compare with numbers made that way.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from seedvr2.errors import UserError
from seedvr2.evaluation.benchmark import Bench, Entry
from seedvr2.evaluation.footage import read_clip

MULTIPLE = 16  # sides that the models take
REDUCED = 720  # lines of the GT with `gt: 720p`
AREA = 1280 * 720  # pixels of the released preprocessing
NEAR = 0.05  # sizes that differ by less are compared as they are by the official crop

Protocol = Literal["aligned", "official_crop"]
Size = tuple[int, int]
Triple = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]


class Geometry(NamedTuple):
    """Sizes (height, width) and rectangles (top, left, height, width) of one clip.

    The LQ is enlarged to `enlarged`, of which the output is the rectangle `part`, as large as `target`. The GT is
    brought to `gt_size` by area averaging and cut to `crop`, both None without GT; with `is_refitted` the result is
    treated like the LQ: resized to `enlarged` and cut to `part`.
    """

    target: Size
    crop: tuple[int, int, int, int] | None
    note: str
    enlarged: Size
    part: tuple[int, int, int, int]
    gt_size: Size | None
    is_refitted: bool = False


def geometry(
    protocol: Protocol,
    lq_size: Size | None,
    gt_size: Size | None,
    scale: int,
    largest: int | None,
    *,
    gt: Literal["native", "720p"] = "native",
    is_frozen: bool = False,
    area: float = AREA,
) -> Geometry:
    """The geometry of a clip from the sizes of its files; either may be None.

    largest: lines (the short side) of an output without GT at most. gt, is_frozen: see `Bench` and `Entry`. area:
    pixels that the official crop enlarges to. Raises UserError if the aligned output cannot equal the GT in size.
    """
    assert lq_size or gt_size, "a clip has LQ or GT"
    whole_gt = None if gt_size is None else (reduced(gt_size) if gt == "720p" else tuple(gt_size))
    crop = None if whole_gt is None else frozen_crop(whole_gt, scale) if is_frozen else (0, 0, *whole_gt)
    if protocol == "official_crop":
        return _official(lq_size or crop[2:], whole_gt, crop, area)
    if protocol != "aligned":
        raise UserError(f"--protocol {protocol} does not exist; use aligned or official_crop")
    target = crop[2:] if lq_size is None else tuple(scale * side for side in lq_size)
    note = ""
    if crop is None and largest is not None and min(target) > largest:
        target = reduced(target, largest)
        note = f"x{scale} would have more than {largest} lines, so the output is {target[1]}x{target[0]}"
    if crop is not None and crop[2:] != target:
        other = "native" if gt == "720p" else "720p"
        raise UserError(
            f"the LQ of {lq_size[1]}x{lq_size[0]} makes {target[1]}x{target[0]} at x{scale}, but the GT has "
            f"{crop[3]}x{crop[2]} with gt={gt}; give another scale, gt={other}, or files that fit"
        )
    if crop is not None and largest is not None and min(target) > largest:
        note = f"the output has {min(target)} lines, more than {largest}, because the GT does"
    if is_frozen and crop[2:] != whole_gt:
        note = f"the GT of {whole_gt[1]}x{whole_gt[0]} is cut around its centre to {target[1]}x{target[0]}"
    return Geometry(target, crop, note, target, (0, 0, *target), whole_gt)


def geometry_of(bench: Bench, entry: Entry, protocol: Protocol = "aligned") -> Geometry:
    """The geometry of a clip of a test set. Errors: see `geometry`, with the clip's name."""
    try:
        return geometry(
            *(protocol, entry.lq_size, entry.gt_size, bench.scale, bench.largest),
            gt=bench.gt,
            is_frozen=entry.is_frozen,
        )
    except UserError as error:
        raise UserError(f"{bench.name}, clip {entry.name}: {error}") from error


def reduced(size: Size, lines: int = REDUCED) -> Size:
    """The size with a short side of at most `lines`; the other side is rounded to an even number."""
    short = min(size)
    return tuple(size) if short <= lines else tuple(_even(Fraction(side * lines, short)) for side in size)


def frozen_crop(size: Size, scale: int) -> tuple[int, int, int, int]:
    """The centred rectangle of a GT whose LQ is synthesised: the largest multiples of 16 times the scale that fit.

    Raises UserError if none fits.
    """
    height, width = (side // (MULTIPLE * scale) * MULTIPLE * scale for side in size)
    if not height or not width:
        raise UserError(f"a GT of {size[1]}x{size[0]} is smaller than {MULTIPLE * scale} pixels; give a larger one")
    return _centred(size, (height, width))


def prepared_gt(entry: Entry, shape: Geometry) -> Iterator[np.ndarray]:
    """The frames of the GT, uint8 (H,W,3), resized and cut as a geometry says."""
    for frame in read_clip(entry.gt):
        frame = _cut(resized(frame, shape.gt_size), shape.crop)
        yield _cut(resized(frame, shape.enlarged), shape.part) if shape.is_refitted else frame


def bicubic(entry: Entry, shape: Geometry) -> Iterator[np.ndarray]:
    """The anchor of every table: the LQ enlarged bicubically (a = -0.5), clamped, rounded, uint8 (H,W,3)."""
    for frame in read_clip(entry.lq):
        yield _cut(enlarged(frame, shape.enlarged), shape.part)


def resized(frame: np.ndarray, size: Size) -> np.ndarray:
    """A uint8 (H,W,3) frame at another size: by area averaging if that is smaller, else bicubically."""
    if frame.shape[:2] == size:
        return frame
    if size[0] <= frame.shape[0] and size[1] <= frame.shape[1]:
        return cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
    return enlarged(frame, size)


def enlarged(frame: np.ndarray, size: Size) -> np.ndarray:
    """A uint8 (H,W,3) frame at another size with the bicubic filter that the restorer uses, rounded to uint8."""
    picture = torch.from_numpy(frame.astype(np.float32)).permute(2, 0, 1)[None]
    picture = F.interpolate(picture, size, mode="bicubic", antialias=True, align_corners=False)[0]
    return picture.clamp(0, 255).round().byte().permute(1, 2, 0).contiguous().numpy()


def triples(
    entry: Entry, prediction: Path | Iterator[np.ndarray], bench: Bench, protocol: Protocol = "aligned"
) -> Iterator[Triple]:
    """Yield (prediction, gt, lq) of every frame, uint8 (H,W,3); gt as large as the prediction, lq as in its file, None
    where there is none.

    Raises UserError for a frame of the wrong size or type, and if one of the three ends before the others.
    """
    shape = geometry_of(bench, entry, protocol)
    sides = {
        "prediction": read_clip(prediction) if isinstance(prediction, Path) else iter(prediction),
        "GT": prepared_gt(entry, shape) if entry.gt else None,
        "LQ": read_clip(entry.lq) if entry.lq else None,
    }
    there = {name: frames for name, frames in sides.items() if frames is not None}
    for number, frames in enumerate(zip_longest(*there.values())):
        triple = dict(zip(there, frames, strict=True))
        ended = [name for name, frame in triple.items() if frame is None]
        if ended:
            going = next(name for name, frame in triple.items() if frame is not None)
            raise UserError(f"clip {entry.name}: the {ended[0]} ends after {number} frames, the {going} goes on")
        made = triple["prediction"]
        if made.dtype != np.uint8 or made.shape != (*shape.target, 3):
            raise UserError(
                f"clip {entry.name}: frame {number} of the prediction is {made.dtype} {made.shape}, but it has to be "
                f"uint8 {(*shape.target, 3)}"
            )
        assert "GT" not in triple or triple["GT"].shape == made.shape, f"{triple['GT'].shape} for {made.shape}"
        yield made, triple.get("GT"), triple.get("LQ")


def _official(lq_size: Size, gt_size: Size | None, crop: tuple[int, int, int, int] | None, area: float) -> Geometry:
    factor = math.sqrt(area / (lq_size[0] * lq_size[1]))
    whole = tuple(round(side * factor) for side in lq_size)
    target = tuple(side - side % MULTIPLE for side in whole)
    # Python's rounding of halves is that of the released crop.
    part = (*(round((side - inner) / 2) for side, inner in zip(whole, target, strict=True)), *target)
    note = f"enlarged by {factor:.4f} to {whole[1]}x{whole[0]} and cut to {target[1]}x{target[0]}"
    if crop is None:
        return Geometry(target, None, note, whole, part, None)
    shown = crop[2:]
    is_near = all(abs(a / b - 1) < NEAR and a >= c for a, b, c in zip(shown, whole, target, strict=True))
    if is_near:
        note += f", while the GT of {shown[1]}x{shown[0]} is only cut, so they do not align" * (shown != whole)
        inner = _centred(shown, target)
        return Geometry(target, (crop[0] + inner[0], crop[1] + inner[1], *target), note, whole, part, gt_size)
    note += f"; the GT of {shown[1]}x{shown[0]} is resized and cut likewise"
    return Geometry(target, crop, note, whole, part, gt_size, is_refitted=True)


def _cut(frame: np.ndarray, rectangle: tuple[int, int, int, int]) -> np.ndarray:
    top, left, height, width = rectangle
    return np.ascontiguousarray(frame[top : top + height, left : left + width])


def _centred(size: Size, inner: Size) -> tuple[int, int, int, int]:
    return ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2, *inner)


def _even(length: Fraction) -> int:
    return int(length) if length.denominator == 1 else 2 * round(length / 2)
