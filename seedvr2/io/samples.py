"""The samples of a decoded frame as full-range RGB and alpha, rounded once.

FFmpeg's own conversion to RGB is biased by up to three levels, repeats chroma samples, ends at 65280 for 16 bits and
takes full-range gray for granted; so everything here is computed from the planes as they were decoded.
"""

import math
import re
from functools import lru_cache
from typing import NamedTuple

import av
import cv2
import numpy as np

from seedvr2.errors import UserError
from seedvr2.io.picture import UNTAGGED, Colors

HIGH_DEFINITION_HEIGHT = 720
RGB_MATRIX, BT709, BT601 = 0, 1, 5
LIMITED, FULL = 1, 2
# Matrix number of H.273 -> weights of red and blue in the luminance.
LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
STRIP = 64  # lines that are converted at once
PLANAR_YUV = re.compile(r"yuv[aj]?4\d\dp")
SAMPLINGS = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (1, 2): "440", (4, 1): "411", (4, 4): "410"}

# Subsampled chroma sits on the first luma column of its block, except in these codecs, which put it in the middle.
CENTRED = {"mjpeg", "mpeg1video", "rawvideo", "theora", "vp3", "vp8", "flv1", "svq1", "svq3"}
CENTRED |= {"h261", "h263", "h263i", "h263p", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "msmpeg4", "wmv1", "wmv2"}


class Layout(NamedTuple):
    """What a pixel format holds: `depth` bits per sample, and whether it has an alpha channel, RGB or no colour."""

    depth: int
    has_alpha: bool
    is_rgb: bool
    is_gray: bool
    is_float: bool


@lru_cache(maxsize=64)
def layout_of(pixel_format: str) -> Layout:
    """The layout of a pixel format of FFmpeg."""
    video_format = av.VideoFormat(pixel_format, 16, 16)
    components = video_format.components
    color = [component for component in components if not component.is_alpha]
    return Layout(
        depth=max(8, *(component.bits for component in components)),
        has_alpha=len(color) < len(components),
        is_rgb=video_format.is_rgb or video_format.has_palette,
        is_gray=len(color) == 1 and not video_format.has_palette,
        is_float=any(kind in pixel_format for kind in ("f16", "f32")),
    )


def colors_of(frame: av.VideoFrame) -> Colors:
    """The colour tags of a decoded frame."""
    tags = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
    return Colors(*(int(tag) for tag in tags))


def matrix_of(frame: av.VideoFrame) -> int:
    """The matrix that a frame is read with: its tag, or where it has none BT.709 from 720 lines on, else BT.601."""
    tag = int(frame.colorspace)
    if tag in (UNTAGGED, RGB_MATRIX):  # YUV that claims to be RGB says nothing
        return BT709 if frame.height >= HIGH_DEFINITION_HEIGHT else BT601
    return tag


def is_convertible(frame: av.VideoFrame) -> bool:
    """Whether the colours of a frame are RGB, gray or one plain matrix away from RGB."""
    layout = layout_of(frame.format.name)
    return layout.is_rgb or layout.is_gray or matrix_of(frame) in LUMA_WEIGHTS


def rescaled(samples: np.ndarray, depth: int, bits: int) -> np.ndarray:
    """Full-range integers of `depth` bits (1 to 16) as uint8 or uint16 of full range, rounded to the nearest."""
    if depth == bits:
        return samples.astype(np.uint8 if bits == 8 else np.uint16, copy=False)
    return np.take(_table(depth, bits), samples)


def depth_note(depth: int, bits: int) -> list[str]:
    """What to tell when samples of `depth` bits are delivered with `bits`."""
    return [f"samples of {depth} bits were rounded to {bits}"] if depth > bits else []


@lru_cache(maxsize=16)
def _table(depth: int, bits: int) -> np.ndarray:
    # Codes above the depth cannot occur in sound files; they are white.
    largest, wanted = 2**depth - 1, 2**bits - 1
    values = (np.arange(2 ** (8 if depth == 8 else 16), dtype=np.int64) * (2 * wanted) + largest) // (2 * largest)
    return np.minimum(values, wanted).astype(np.uint8 if bits == 8 else np.uint16)


class Siting(NamedTuple):
    """Where the chroma samples of a block of luma sit: 0 on its first column or line, 0.5 in the middle."""

    across: float = 0.0
    down: float = 0.5


USUAL_SITING = Siting()


def siting_of(codec: str) -> Siting:
    """The usual siting of a codec; PyAV does not tell the tag of a frame."""
    return Siting(0.5, 0.5) if codec in CENTRED else Siting(0.0, 0.0) if codec == "dvvideo" else USUAL_SITING


def picture_samples(
    frame: av.VideoFrame, bits: int, siting: Siting = USUAL_SITING
) -> tuple[np.ndarray, np.ndarray | None]:
    """(rgb (H,W,3), alpha (H,W) or None where the format has none) as uint8 or uint16, not turned upright.

    Exact for RGB and gray; YUV is rounded once after its matrix. Raises UserError for a matrix that is no plain matrix.
    """
    layout = layout_of(frame.format.name)
    if layout.is_gray:
        return _gray(frame, layout, bits)
    if layout.is_rgb:
        return _rgb(frame, layout, bits)
    matrix, is_full = matrix_of(frame), frame.color_range == FULL or frame.format.name.startswith("yuvj")
    if not is_convertible(frame):
        raise UserError(f"the colours follow matrix {matrix} of H.273, which is not supported; convert them to BT.709")
    frame = planar(frame)
    alpha = rescaled(_plane(frame, 3), layout.depth, bits) if layout.has_alpha else None
    rows = _rows_of_matrix(matrix, is_full, layout.depth, 2**bits - 1)
    return _rgb_of_yuv(frame, rows, bits, siting), alpha


def float_channels(frame: av.VideoFrame) -> list[np.ndarray]:
    """The (H,W) float32 channels of a frame with floating-point samples, in the order red, green, blue, alpha."""
    return [_plane(frame, index).astype(np.float32) for index in range(len(frame.format.components))]


def _rgb(frame: av.VideoFrame, layout: Layout, bits: int) -> tuple[np.ndarray, np.ndarray | None]:
    if frame.format.name.startswith("gbr") and not layout.is_float:
        channels = [rescaled(_plane(frame, index), layout.depth, bits) for index in range(3 + layout.has_alpha)]
        return np.stack(channels[:3], axis=2), channels[3] if layout.has_alpha else None
    depth = 8 if layout.depth == 8 else 16
    packed = {(8, False): "rgb24", (8, True): "rgba", (16, False): "rgb48le", (16, True): "rgba64le"}
    samples = rescaled(frame.to_ndarray(format=packed[depth, layout.has_alpha]), depth, bits)
    if not layout.has_alpha:
        return samples, None
    return np.ascontiguousarray(samples[..., :3]), np.ascontiguousarray(samples[..., 3])


def _gray(frame: av.VideoFrame, layout: Layout, bits: int) -> tuple[np.ndarray, np.ndarray | None]:
    alpha = None
    if layout.has_alpha:
        both = _rows(frame, 0)[: frame.height, : 2 * frame.width].reshape(frame.height, frame.width, 2)
        gray, alpha = both[..., 0], rescaled(both[..., 1], layout.depth, bits)
    else:
        if not frame.format.name.startswith("gray") or layout.is_float:  # one bit per pixel
            frame = frame.reformat(format="gray")
        gray = _plane(frame, 0)
    if frame.color_range == LIMITED:
        unit = 2 ** (layout.depth - 8)
        full = (gray.astype(np.float64) - 16 * unit) * ((2**bits - 1) / (219 * unit))
        gray = _rounded(full, bits)
    else:  # FFmpeg's gray is of full range unless it says otherwise
        gray = rescaled(gray, layout.depth, bits)
    return np.repeat(gray[..., None], 3, axis=2), alpha


def planar(frame: av.VideoFrame) -> av.VideoFrame:
    """A YUV frame with its samples in planes, unchanged; one of another kind as it is."""
    name = frame.format.name
    layout = layout_of(name)
    if layout.is_rgb or layout.is_gray or PLANAR_YUV.match(name):
        return frame
    chroma = frame.format.components[1]
    sampling = SAMPLINGS[_ratio(frame.width, chroma.width), _ratio(frame.height, chroma.height)]
    ending = "" if layout.depth == 8 else f"{layout.depth}le"
    return frame.reformat(format=f"yuv{'a' if layout.has_alpha else ''}{sampling}p{ending}")


def _ratio(whole: int, part: int) -> int:
    return 2 ** round(math.log2(whole / part))


def _rows(frame: av.VideoFrame, plane: int) -> np.ndarray:
    # (rows, samples of a row with their padding), in the machine's byte order
    name, source = frame.format.name, frame.planes[plane]
    layout = layout_of(name)
    kind = f"f{layout.depth // 8}" if layout.is_float else "u1" if layout.depth == 8 else "u2"
    stored = np.dtype((">" if name.endswith("be") else "<") + kind)
    samples = np.frombuffer(source, stored).reshape(-1, source.line_size // stored.itemsize)
    return samples.astype(stored.newbyteorder("="), copy=False)


def _plane(frame: av.VideoFrame, component: int) -> np.ndarray:
    # A component of a planar format as (H,W) of its own size.
    description = frame.format.components[component]
    return _rows(frame, description.plane)[: description.height, : description.width]


def _rows_of_matrix(matrix: int, is_full: bool, depth: int, white: int) -> np.ndarray:
    # (3,4): from codes Y, Cb, Cr and 1 to red, green and blue between 0 and `white`
    red, blue = LUMA_WEIGHTS[matrix]
    green = 1 - red - blue
    unit, largest = 2 ** (depth - 8), 2**depth - 1
    black, luma = (0, white / largest) if is_full else (16 * unit, white / (219 * unit))
    chroma = white / largest if is_full else white / (224 * unit)
    to_red, to_blue = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma
    rows = np.array([[luma, 0, to_red], [luma, -to_blue * blue / green, -to_red * red / green], [luma, to_blue, 0]])
    return np.column_stack([rows, -rows @ np.array([black, 128 * unit, 128 * unit])])


def _rgb_of_yuv(frame: av.VideoFrame, rows: np.ndarray, bits: int, siting: Siting) -> np.ndarray:
    # Strip by strip, so that the floats stay in the cache.
    luma = _plane(frame, 0)
    chroma = cv2.merge([_plane(frame, 1).astype(np.float32), _plane(frame, 2).astype(np.float32)])
    height, width = luma.shape
    across, down = _ratio(width, chroma.shape[1]), _ratio(height, chroma.shape[0])
    left, top = siting.across * (across - 1), siting.down * (down - 1)
    rgb = np.empty((height, width, 3), np.uint8 if bits == 8 else np.uint16)
    for start in range(0, height, STRIP):
        strip = luma[start : start + STRIP]
        if across == down == 1:
            spread = chroma[start : start + STRIP]
        else:
            position = np.array([[1 / across, 0, -left / across], [0, 1 / down, (start - top) / down]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            spread = cv2.warpAffine(chroma, position, (width, len(strip)), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        yuv = cv2.merge([strip.astype(np.float32), *cv2.split(spread)])
        rgb[start : start + STRIP] = _rounded(cv2.transform(yuv, rows), bits)
    return rgb


def _rounded(samples: np.ndarray, bits: int) -> np.ndarray:
    # OpenCV rounds and saturates in one pass.
    return cv2.add(samples, 0.0, dtype=cv2.CV_8U if bits == 8 else cv2.CV_16U)
