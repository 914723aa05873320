"""Still images at their own depth and with their transparency: Pillow for 8 bits, OpenCV for 16, FFmpeg for EXR."""

import io
import re
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from seedvr2.errors import UserError
from seedvr2.io.images import IMAGE_SUFFIXES, ORIENTATION, TIFF_SIZE, orientation_tag
from seedvr2.io.orientation import Orientation
from seedvr2.io.reader import existing_file, open_video
from seedvr2.io.samples import float_channels, layout_of

STILL_SUFFIXES = IMAGE_SUFFIXES | {".exr", ".gif"}
EXR_NOTE = "linear light was given the sRGB curve, and values outside of 0 to 1 were clipped"
UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError)
BIT_DEPTH_TAG, EXTRA_SAMPLES_TAG = 258, 338  # of TIFF
PREMULTIPLIED = 1
ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
PNG_DEPTH_OFFSET = 24
NETPBM = re.compile(rb"P[56](?:\s|#[^\n]*\n)+\d+(?:\s|#[^\n]*\n)+\d+(?:\s|#[^\n]*\n)+(\d+)")
# EXIF orientation -> how the stored picture is turned.
TURNS = {
    2: Orientation(False, True, False),
    3: Orientation(False, True, True),
    4: Orientation(False, False, True),
    5: Orientation(True, False, False),
    6: Orientation(True, True, False),
    7: Orientation(True, True, True),
    8: Orientation(True, False, True),
}


class StillHeader(NamedTuple):
    """What an image file says before its pixels are read; sizes are upright."""

    height: int
    width: int
    bits: int  # 8 or 16
    has_alpha: bool
    frames: int  # pictures in the file
    codec: str  # Pillow's name of the format in lower case, or exr
    pixel_format: str  # Pillow's or FFmpeg's name
    orientation: Orientation
    notes: tuple[str, ...]
    is_premultiplied: bool = False


def is_still(path: str | Path) -> bool:
    """Whether the file name says picture, EXR and GIF included; the content is not read."""
    return Path(path).suffix.lower() in STILL_SUFFIXES


def still_header(path: str | Path) -> StillHeader:
    """The header of an image file; raises UserError if it is missing, empty, unreadable or of a depth unknown here."""
    path = existing_file(path)
    if path.suffix.lower() == ".exr":
        return _exr_header(path)
    try:
        with Image.open(path) as image:
            return _header(path, image)
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read as an image ({error}); check the file") from error


def read_still(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """(rgb (H,W,3), alpha (H,W) or None) of an image, upright, uint8 or uint16 as its header says.

    The first picture of several. Alpha is straight: where a file holds colours multiplied by it, they are divided.
    Raises UserError like `still_header`, and if the pixels are damaged.
    """
    path = existing_file(path)
    header = still_header(path)
    if header.codec == "exr":
        rgb, alpha = _read_exr(path)
    elif header.bits == 16:
        rgb, alpha = _read_deep(path, header)
    else:
        rgb, alpha = _read_plain(path)
    turned = [None if part is None else header.orientation.apply(part) for part in (rgb, alpha)]
    if turned[0].shape[:2] != (header.height, header.width):
        raise UserError(f"{path} has another size than its header says; check the file")
    return turned[0], turned[1]


def _header(path: Path, image: Image.Image) -> StillHeader:
    orientation = TURNS.get(orientation_tag(path, image), Orientation())
    # Pillow's size of a TIFF is that of the turned picture in some versions.
    stored = [image.tag_v2[tag] for tag in TIFF_SIZE] if image.format == "TIFF" else image.size
    width, height = stored[::-1] if orientation.is_transposed else stored
    frames = getattr(image, "n_frames", 1)
    notes = []
    if frames > 1 and image.format == "TIFF":
        notes.append(f"only the first of {frames} pages was read")
    profile = _profile_name(image)
    if profile and "srgb" not in profile.lower():
        notes.append(f"the embedded colour profile ({profile}) was not applied")
    return StillHeader(
        height=height,
        width=width,
        bits=_depth(path, image),
        has_alpha=image.mode in ALPHA_MODES or "transparency" in image.info,
        frames=frames,
        codec=image.format.lower(),
        pixel_format=image.mode,
        orientation=orientation,
        notes=tuple(notes),
        is_premultiplied=image.format == "TIFF" and PREMULTIPLIED in image.tag_v2.get(EXTRA_SAMPLES_TAG, ()),
    )


def _depth(path: Path, image: Image.Image) -> int:
    # Pillow opens 16-bit colour as 8 bits, so its mode does not tell.
    if image.mode == "F":
        raise UserError(f"{path} holds floating-point samples of unknown range; convert it to 8 or 16 bits")
    if image.format == "PNG":
        with path.open("rb") as file:
            depth = file.read(PNG_DEPTH_OFFSET + 1)[PNG_DEPTH_OFFSET]
    elif image.format == "TIFF":
        depth = max(image.tag_v2.get(BIT_DEPTH_TAG, (1,)))
    elif image.format == "PPM":
        with path.open("rb") as file:
            match = NETPBM.match(file.read(4096))
        largest = int(match.group(1)) if match else 255
        depth = 8 if largest < 256 else 16 if largest == 65535 else largest.bit_length()
    else:
        depth = 8
    if depth > 8 and depth != 16:
        raise UserError(f"{path} has {depth} bits per sample; convert it to 8 or 16 bits")
    return max(8, depth)


def _profile_name(image: Image.Image) -> str | None:
    data = image.info.get("icc_profile")
    if not data:
        return None
    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(data))).strip() or "unnamed"
    except (ImageCms.PyCMSError, OSError):
        return "unreadable"


def _read_plain(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        with Image.open(io.BytesIO(_as_if_upright(path))) as image:
            image.load()
            has_alpha = image.mode in ALPHA_MODES or "transparency" in image.info
            samples = np.array(image.convert("RGBA" if has_alpha or image.mode == "P" else "RGB"))
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read as an image ({error}); check the file") from error
    return np.ascontiguousarray(samples[..., :3]), np.ascontiguousarray(samples[..., 3]) if has_alpha else None


def _read_deep(path: Path, header: StillHeader) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        samples = cv2.imdecode(_as_if_upright(path), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        samples = None
    if samples is None or samples.dtype != np.uint16:
        raise UserError(f"{path} cannot be read as an image of 16 bits; check the file")
    if samples.ndim == 2:
        samples = samples[..., None]
    channels = samples.shape[2]
    rgb = np.repeat(samples[..., :1], 3, axis=2) if channels < 3 else samples[..., 2::-1]
    alpha = np.ascontiguousarray(samples[..., -1]) if channels in (2, 4) else None
    if alpha is not None and header.is_premultiplied:
        share = np.maximum(alpha, 1)[..., None] / 65535
        rgb = np.minimum(np.rint(rgb / share), 65535).astype(np.uint16)
    return np.ascontiguousarray(rgb), alpha


def _as_if_upright(path: Path) -> np.ndarray:
    # The bytes of a file; a TIFF says that it is upright, because Pillow and OpenCV turn some of them and others not.
    data = np.fromfile(path, np.uint8)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4].tobytes())
    if order is None:
        return data
    directory = int(data[4:8].view(f"{order}u4")[0])
    count = int(data[directory : directory + 2].view(f"{order}u2")[0])
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        if data[entry : entry + 2].view(f"{order}u2")[0] == ORIENTATION:
            data[entry + 8 : entry + 10].view(f"{order}u2")[0] = 1
    return data


def _exr_header(path: Path) -> StillHeader:
    with open_video(path) as video:
        frame = video.first
    layout = layout_of(frame.format.name)
    return StillHeader(
        height=frame.height,
        width=frame.width,
        bits=16,
        has_alpha=layout.has_alpha,
        frames=1,
        codec="exr",
        pixel_format=frame.format.name,
        orientation=Orientation(),
        notes=(EXR_NOTE,),
    )


def _read_exr(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    with open_video(path) as video:
        frame = video.first
    if not layout_of(frame.format.name).is_float:
        raise UserError(f"{path} holds integer samples ({frame.format.name}); store it as half or float")
    channels = [np.nan_to_num(channel, nan=0.0) for channel in float_channels(frame)]
    has_alpha = layout_of(frame.format.name).has_alpha
    alpha = channels.pop().clip(0, 1) if has_alpha else None
    light = np.stack(channels if len(channels) == 3 else channels * 3, axis=2)
    if alpha is not None:  # EXR multiplies its colours by alpha
        light = light / np.where(alpha > 0, alpha, 1)[..., None]
    curved = _encoded_as_srgb(light.clip(0, 1))
    return _sixteen(curved), None if alpha is None else _sixteen(alpha)


def _encoded_as_srgb(light: np.ndarray) -> np.ndarray:
    # IEC 61966-2-1
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def _sixteen(values: np.ndarray) -> np.ndarray:
    return np.rint(values.astype(np.float64) * 65535).astype(np.uint16)
