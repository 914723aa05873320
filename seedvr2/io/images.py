"""Still images: any Pillow-readable file as upright 8-bit RGB, and complete-or-absent writing."""

import contextlib
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from seedvr2.errors import UserError
from seedvr2.io.reader import existing_file

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
JPEG_QUALITY = 95
ORIENTATION = 0x0112  # the EXIF tag
TIFF_SIZE = (256, 257)  # the tags of width and height


def is_image(path: str | Path) -> bool:
    """Whether the file name says still image; the content is not read."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def read_image(path: str | Path, *, file: IO[bytes] | None = None) -> np.ndarray:
    """The image as uint8 (H,W,3) RGB, turned upright by its EXIF orientation; the first frame of an animation.

    16-bit samples keep their high byte; palette, gray, bilevel and CMYK become RGB. Alpha is dropped: colours stay as
    stored, including those under transparent pixels. `file` is read in place of the file at `path`, which then is a
    name only. Raises UserError if the file is missing, empty or not readable.
    """
    path = existing_file(path) if file is None else Path(path)
    try:
        # Given a path, Pillow 13 maps the pixels of a turned TIFF in the wrong size.
        with contextlib.ExitStack() as opened, Image.open(file or opened.enter_context(path.open("rb"))) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image ({error}); check the file") from error
    if upright.mode.startswith("I"):
        # Pillow's own conversion saturates 16-bit gray at 255 instead of scaling it.
        gray = (np.asarray(upright, dtype=np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    if upright.mode == "F":
        raise UserError(f"{path} holds floating-point samples of unknown range; convert it to 8 or 16 bits")
    if upright.mode == "P" or "A" in upright.mode or "transparency" in upright.info:
        upright = upright.convert("RGBA")
    return np.array(upright.convert("RGB"))


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width of the upright image, from its header. Errors: see `read_image`."""
    path = existing_file(path)
    try:
        with Image.open(path) as image:
            turned = orientation_tag(path, image) in (5, 6, 7, 8)
            # Pillow's size of a TIFF is that of the turned picture in some versions.
            width, height = [image.tag_v2[tag] for tag in TIFF_SIZE] if image.format == "TIFF" else image.size
            return (width, height) if turned else (height, width)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image ({error}); check the file") from error


def orientation_tag(path: Path, image: Image.Image) -> int:
    """The EXIF orientation of an opened image, 1 if it has none; no pixels are decoded for it."""
    # Pillow would decode a whole PNG to look for a tag behind its pixels.
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & set(image.info):
        with path.open("rb") as file:
            position = 8
            while len(start := _at(file, position, 8)) == 8 and start[4:] != b"eXIf":
                position += 12 + int.from_bytes(start[:4], "big")
        if not start:
            return 1
    return image.getexif().get(ORIENTATION, 1)


def _at(file: IO[bytes], position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write uint8 (H,W,3) RGB or (H,W) gray in the format of the suffix; the file appears only when complete.

    Raises UserError for a suffix that is not an image format, a folder that does not exist, a picture that is too large
    for its format, or a disk that is full.
    """
    path = Path(path)
    image_format = Image.registered_extensions().get(path.suffix.lower())
    if image_format is None:
        raise UserError(f"{path.name} does not end in an image suffix; use .png, .jpg, .webp or .tif")
    if not path.parent.is_dir():
        wrong = "is a file; give a folder" if path.parent.exists() else "does not exist; create it first"
        raise UserError(f"the folder {path.parent} {wrong}")
    assert image.dtype == np.uint8, f"images are written from uint8, not {image.dtype}"
    options = {"quality": JPEG_QUALITY} if image_format in ("JPEG", "WEBP") else {}
    partial = path.with_name(path.name + ".part")
    try:
        Image.fromarray(image).save(partial, format=image_format, **options)
        partial.replace(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be written ({reason}); choose another place or format") from error
    finally:
        partial.unlink(missing_ok=True)
