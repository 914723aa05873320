"""A picture as the frame of an encoder, rounded once.

FFmpeg's own conversion puts deep RGB almost two levels too bright, so planes are computed here: RGB exactly, YUV by its
matrix with the chroma sited as players assume it, on every second column and between two lines.
"""

import re

import av
import cv2
import numpy as np

from seedvr2.io.picture import Colors, Picture
from seedvr2.io.samples import LUMA_WEIGHTS, layout_of, rescaled

PLANAR_ORDER = (1, 2, 0)  # of RGB in planes
SAMPLING = re.compile(r"yuva?(4\d\d)p")


def frame_of(picture: Picture, pixel_format: str, colors: Colors) -> av.VideoFrame:
    """The picture, whose size the format can hold, in the pixel format `bgr0`, `bgra`, `gbr(a)p..` or `yuv(a)4..p..`.

    RGB and alpha are the nearest values of the depth, YUV is of limited range. The frame carries the tags `colors`.
    """
    height, width = picture.rgb.shape[:2]
    frame = av.VideoFrame(width, height, pixel_format)
    for plane, samples in zip(frame.planes, _samples(picture, pixel_format, colors.matrix), strict=True):
        _fill(plane, samples)
    frame.colorspace, frame.color_range = colors.matrix, colors.range
    if hasattr(frame, "color_primaries"):
        frame.color_primaries, frame.color_trc = colors.primaries, colors.curve
    return frame


def padded(picture: Picture, width: int, height: int) -> Picture:
    """The picture, grown to a size by repeating its last column and row."""
    down, right = height - picture.rgb.shape[0], width - picture.rgb.shape[1]
    if down == right == 0:
        return picture
    grown = [
        None if samples is None else cv2.copyMakeBorder(samples, 0, down, 0, right, cv2.BORDER_REPLICATE)
        for samples in (picture.rgb, picture.alpha)
    ]
    return Picture(*grown, picture.pts)


def at_depth(samples: np.ndarray, depth: int) -> np.ndarray:
    """Full-range uint8 or uint16 as the nearest full-range values of `depth` bits (8 to 16), uint8 for 8."""
    return rescaled(samples, 8 * samples.itemsize, depth)


def _samples(picture: Picture, pixel_format: str, matrix: int) -> list[np.ndarray]:
    layout = layout_of(pixel_format)
    alpha = []
    if layout.has_alpha or pixel_format == "bgr0":
        opaque = np.full(picture.rgb.shape[:2], 255 if picture.rgb.dtype == np.uint8 else 65535, picture.rgb.dtype)
        alpha = [at_depth(opaque if picture.alpha is None else picture.alpha, layout.depth)]
    if layout.is_rgb:
        rgb = at_depth(picture.rgb, layout.depth)
        if pixel_format.startswith("bgr"):
            return [np.dstack([rgb[..., ::-1], *alpha])]
        return [rgb[..., channel] for channel in PLANAR_ORDER] + alpha
    sampling = SAMPLING.match(pixel_format)[1]
    return _yuv(picture.rgb, matrix, layout.depth, sampling) + alpha


def _yuv(rgb: np.ndarray, matrix: int, depth: int, sampling: str) -> list[np.ndarray]:
    red, blue = LUMA_WEIGHTS[matrix]
    unit, white = 2 ** (depth - 8), np.iinfo(rgb.dtype).max
    luma = np.array([red, 1 - red - blue, blue])
    rows = [
        219 * luma,
        224 * (np.array([0, 0, 1]) - luma) / (2 * (1 - blue)),
        224 * (np.array([1, 0, 0]) - luma) / (2 * (1 - red)),
    ]
    offset = np.array([16, 128, 128]) * unit
    conversion = np.column_stack([np.array(rows) * unit / white, offset]).astype(np.float32)
    planes = cv2.split(cv2.transform(rgb.astype(np.float32), conversion))
    stored = np.uint8 if depth == 8 else np.uint16
    chroma = [_sampled(plane, sampling) for plane in planes[1:]]
    return [(np.clip(plane, 0, 2**depth - 1) + 0.5).astype(stored) for plane in (planes[0], *chroma)]


def _sampled(plane: np.ndarray, sampling: str) -> np.ndarray:
    if sampling == "444":
        return plane
    down = np.array([1.0])
    if sampling == "420":
        plane = cv2.copyMakeBorder(plane, 0, plane.shape[0] % 2, 0, 0, cv2.BORDER_REPLICATE)
        down = np.array([0.5, 0.5])
    across = np.array([0.25, 0.5, 0.25])
    smooth = cv2.sepFilter2D(plane, -1, across, down, anchor=(1, 0), borderType=cv2.BORDER_REPLICATE)
    return smooth[:: len(down), ::2]


def _fill(plane: object, samples: np.ndarray) -> None:
    rows = samples.reshape(samples.shape[0], -1)
    width = plane.line_size // rows.itemsize
    stored = np.zeros((plane.buffer_size // plane.line_size, width), rows.dtype.newbyteorder("<"))
    stored[: rows.shape[0], : rows.shape[1]] = rows
    plane.update(stored)
