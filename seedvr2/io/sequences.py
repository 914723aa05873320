"""Frames as numbered pictures in a folder: PNG and TIFF of 8 and 16 bits, OpenEXR in linear light, JPEG and WebP."""

import io
import os
import re
import shutil
import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from seedvr2.errors import UserError
from seedvr2.io.encoding import BT709, Encoding
from seedvr2.io.files import whole
from seedvr2.io.picture import Colors, Picture
from seedvr2.io.planes import at_depth

DIGITS = 8
NUMBERED = re.compile(rf"\d{{{DIGITS}}}\.\w+")
JPEG_QUALITY = 95
PNG_HEADER_END = 8 + 25  # bytes of the signature and of the header, after which the colour tags belong
OPENCV_OPTIONS = {"png": [cv2.IMWRITE_PNG_COMPRESSION, 3], "tiff": [cv2.IMWRITE_TIFF_COMPRESSION, 8]}
EXR_OPTIONS = {"format": "float", "compression": "zip16"}


def write_numbered(folder: Path, number: int, picture: Picture, encoding: Encoding) -> None:
    """Write a frame into an existing folder, named by its number; raises OSError if that fails."""
    (folder / f"{number:0{DIGITS}d}{encoding.suffix}").write_bytes(encoded_picture(picture, encoding))


def encoded_picture(picture: Picture, encoding: Encoding) -> bytes:
    """A picture as the bytes of a file: at the encoding's depth, with its alpha (white where the picture has none).

    OpenEXR holds 32-bit floats of linear light, converted by the sRGB curve, 1 being white. PNG names its primaries and
    curve if they are not the usual ones.
    """
    bits = 8 if encoding.depth == 8 else 16
    rgb = at_depth(picture.rgb, bits)
    alpha = None
    if encoding.has_alpha:
        opaque = np.full(rgb.shape[:2], 2**bits - 1, rgb.dtype)
        alpha = opaque if picture.alpha is None else at_depth(picture.alpha, bits)
    if encoding.codec == "exr":
        return _exr(rgb, alpha)
    if encoding.codec in ("jpeg", "webp"):
        return _pillow(rgb, alpha, encoding.codec)
    channels = [rgb[..., ::-1]] if alpha is None else [rgb[..., ::-1], alpha]
    works, data = cv2.imencode(encoding.suffix, np.dstack(channels), OPENCV_OPTIONS[encoding.codec])
    assert works, f"OpenCV does not write {encoding.suffix}"
    return _tagged(data.tobytes(), encoding.colors) if encoding.codec == "png" else data.tobytes()


def merge(output: Path, folders: Sequence[Path], encoding: Encoding) -> None:
    """Make the folder or file `output` of the pictures of the segments, without copying them where links are possible.

    The segments stay. A folder that `output` replaces may hold nothing but numbered pictures. Raises UserError if it
    does, or if there is not exactly one picture for a file.
    """
    pictures = sorted((path for folder in folders for path in folder.iterdir()), key=lambda path: path.name)
    numbers = [int(path.stem) for path in pictures]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "frames are missing or double"
    if not encoding.is_folder:
        if len(pictures) != 1:
            raise UserError(f"{output.name} holds one picture, not {len(pictures)}; give a folder, or a video file")
        with whole(output) as partial:
            _link(pictures[0], partial)
        return
    check_replaceable(output)
    with whole(output) as partial:
        partial.mkdir()
        for path in pictures:
            _link(path, partial / path.name)


def check_replaceable(folder: Path) -> None:
    """Raise UserError if a folder, which need not be there, holds anything but numbered pictures."""
    if folder.is_dir():
        strange = next((path.name for path in folder.iterdir() if not NUMBERED.fullmatch(path.name)), None)
        if strange:
            raise UserError(f"the folder {folder} holds {strange} beside pictures; choose another folder")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # not every file system has links
        shutil.copyfile(source, target)


def _exr(rgb: np.ndarray, alpha: np.ndarray | None) -> bytes:
    height, width = rgb.shape[:2]
    color = _linear(rgb.astype(np.float32) / np.float32(65535))
    more = []
    if alpha is not None:  # EXR multiplies its colours by alpha
        more = [alpha.astype(np.float32) / np.float32(65535)]
        color = color * more[0][..., None]
    planes = [color[..., 1], color[..., 2], color[..., 0], *more]
    frame = av.VideoFrame(width, height, "gbrpf32le" if alpha is None else "gbrapf32le")
    for plane, samples in zip(frame.planes, planes, strict=True):
        stored = np.zeros((height, plane.line_size // 4), "<f4")
        stored[:, :width] = samples
        plane.update(stored)
    encoder = av.CodecContext.create("exr", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, frame.format.name
    encoder.time_base, encoder.options, encoder.thread_count = Fraction(1), EXR_OPTIONS, 1
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))


def _linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _pillow(rgb: np.ndarray, alpha: np.ndarray | None, codec: str) -> bytes:
    options = {"quality": JPEG_QUALITY, "subsampling": 0} if codec == "jpeg" else {"lossless": True, "exact": True}
    image = Image.fromarray(np.ascontiguousarray(rgb if alpha is None else np.dstack([rgb, alpha])))
    with io.BytesIO() as memory:
        try:
            image.save(memory, format=codec, **options)
        except ValueError as error:
            raise UserError(f"{rgb.shape[1]}x{rgb.shape[0]} is too large for {codec}; use png or tiff") from error
        return memory.getvalue()


def _tagged(data: bytes, colors: Colors) -> bytes:
    if (colors.primaries, colors.curve) == (BT709, BT709):
        return data
    body = b"cICP" + bytes([colors.primaries, colors.curve, 0, 1])
    chunk = struct.pack(">I", 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:PNG_HEADER_END] + chunk + data[PNG_HEADER_END:]
