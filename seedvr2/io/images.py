"""Still images: any Pillow-readable file as upright 8-bit RGB, and complete-or-absent writing."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from seedvr2.errors import UserError
from seedvr2.io.reader import existing_file

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
JPEG_QUALITY = 95


def is_image(path: str | Path) -> bool:
    """Whether the file name says still image; the content is not read."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def read_image(path: str | Path) -> np.ndarray:
    """The image as uint8 (H,W,3) RGB, turned upright by its EXIF orientation; the first frame of an animation.

    16-bit samples keep their high byte; palette, gray, bilevel and CMYK become RGB. Alpha is dropped: colours stay as
    stored, including those under transparent pixels. Raises UserError if the file is missing, empty or not readable.
    """
    path = existing_file(path)
    try:
        with Image.open(path) as image:
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
        raise UserError(f"the folder {path.parent} does not exist; create it first")
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
