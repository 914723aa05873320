"""Properties of still images: 8 and 16 bits come back exactly, with alpha, upright; EXR through the sRGB curve."""

import struct
import zlib

import av
import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from seedvr2.errors import UserError
from seedvr2.io.stills import is_still, read_still, still_header

HEIGHT, WIDTH = 6, 9


def draw(channels, dtype=np.uint8):
    shape = (HEIGHT, WIDTH, channels) if channels else (HEIGHT, WIDTH)
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def write_png(path, samples, *, color_type, extra=b""):
    """A PNG of big-endian 16-bit samples, as no library at hand writes all of them."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    parts = [(b"IHDR", header), *([(b"tRNS", extra)] if extra else []), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


def write_exr(path, channels, pixel_format, half=False):
    """Channels in FFmpeg's plane order: green, blue, red, alpha."""
    height, width = channels[0].shape
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("exr", rate=1, options={"format": "half" if half else "float"})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        frame = av.VideoFrame(width, height, pixel_format)
        for plane, channel in zip(frame.planes, channels, strict=True):
            rows = np.zeros((plane.buffer_size // plane.line_size, plane.line_size // 4), np.float32)
            rows[:height, :width] = channel
            plane.update(rows.tobytes())
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [0, 3, 4])
def test_sixteen_bits_come_back_exactly(tmp_path, suffix, channels):
    samples = draw(channels, np.uint16)
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), samples)
    header = still_header(path)
    rgb, alpha = read_still(path)
    assert (header.bits, header.height, header.width) == (16, HEIGHT, WIDTH)
    assert header.has_alpha == (channels == 4)
    if channels == 0:
        assert np.array_equal(rgb, np.repeat(samples[..., None], 3, axis=2))
    else:
        assert np.array_equal(rgb, samples[..., 2::-1])
    assert (alpha is not None) == (channels == 4)
    if alpha is not None:
        assert np.array_equal(alpha, samples[..., 3])


@pytest.mark.parametrize(("mode", "suffix"), [("RGB", "png"), ("RGBA", "png"), ("RGBA", "tif"), ("LA", "png")])
@pytest.mark.parametrize("lossless", [True])
def test_eight_bits_come_back_exactly(tmp_path, mode, suffix, lossless):
    image = Image.fromarray(draw(4)).convert(mode)
    path = tmp_path / f"a.{suffix}"
    image.save(path)
    rgb, alpha = read_still(path)
    assert (rgb.dtype, still_header(path).bits, still_header(path).has_alpha) == (np.uint8, 8, "A" in mode)
    assert np.array_equal(rgb, np.asarray(image.convert("RGBA"))[..., :3])
    assert (alpha is None) == ("A" not in mode)
    assert alpha is None or np.array_equal(alpha, draw(4)[..., 3])


def test_colours_under_transparent_pixels_of_webp_survive(tmp_path):
    samples = draw(4)
    samples[..., 3] = 0
    Image.fromarray(samples).save(tmp_path / "a.webp", lossless=True, exact=True)
    rgb, alpha = read_still(tmp_path / "a.webp")
    assert np.array_equal(rgb, samples[..., :3])
    assert not alpha.any()


def test_palettes_with_and_without_transparency(tmp_path):
    image = Image.fromarray(draw(3)).quantize(8)
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "clear.png", transparency=3)
    rgb, alpha = read_still(tmp_path / "opaque.png")
    assert alpha is None
    assert np.array_equal(rgb, np.asarray(image.convert("RGB")))
    _, alpha = read_still(tmp_path / "clear.png")
    assert np.array_equal(alpha == 0, np.asarray(image) == 3)
    assert (alpha == 0).any()


def test_gray_with_alpha_of_sixteen_bits(tmp_path):
    samples = draw(2, np.uint16)
    rgb, alpha = read_still(write_png(tmp_path / "a.png", samples, color_type=4))
    assert np.array_equal(rgb, np.repeat(samples[..., :1], 3, axis=2))
    assert np.array_equal(alpha, samples[..., 1])


def test_a_transparent_colour_of_sixteen_bits_is_alpha(tmp_path):
    samples = draw(3, np.uint16)
    clear = samples[2, 4].astype(">u2").tobytes()
    path = write_png(tmp_path / "a.png", samples, color_type=2, extra=clear)
    rgb, alpha = read_still(path)
    assert still_header(path).has_alpha
    assert np.array_equal(rgb, samples)
    assert alpha[2, 4] == 0
    assert (np.delete(alpha.ravel(), 2 * WIDTH + 4) == 65535).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path, suffix, dtype, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    samples = draw(0, dtype)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(samples).save(path, exif=exif)
    turned = {
        1: samples,
        2: samples[:, ::-1],
        3: samples[::-1, ::-1],
        4: samples[::-1],
        5: samples.T,
        6: np.rot90(samples, k=-1),
        7: samples[::-1, ::-1].T,
        8: np.rot90(samples),
    }[orientation]
    rgb, _ = read_still(path)
    assert np.array_equal(rgb[..., 0], turned)
    assert (still_header(path).height, still_header(path).width) == turned.shape


@pytest.mark.parametrize("half", [False, True])
def test_exr_is_linear_light_on_the_srgb_curve(tmp_path, half):
    light = np.linspace(-0.5, 2, 256, dtype=np.float32).reshape(8, 32)
    path = write_exr(tmp_path / "a.exr", [light, light / 2, light * 0], "gbrpf32le", half)
    rgb, alpha = read_still(path)
    clipped = np.stack([light * 0, light, light / 2], axis=2).astype(np.float64).clip(0, 1)
    curve = np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)
    assert alpha is None
    assert np.abs(rgb - curve * 65535).max() < (20 if half else 1)
    assert (rgb.min(), rgb.max(), still_header(path).bits) == (0, 65535, 16)
    assert "sRGB" in still_header(path).notes[0]


def test_exr_colours_are_freed_of_their_alpha(tmp_path):
    light, alpha = np.full((4, 6), 0.25, np.float32), np.full((4, 6), 0.5, np.float32)
    alpha[0] = 0
    path = write_exr(tmp_path / "a.exr", [light, light, light, alpha], "gbrapf32le")
    rgb, found = read_still(path)
    assert still_header(path).has_alpha
    assert np.array_equal(found, np.rint(alpha * 65535))
    assert np.abs(rgb[1:] / 65535 - (1.055 * 0.5 ** (1 / 2.4) - 0.055)).max() < 1e-4
    assert np.abs(rgb[0] / 65535 - (1.055 * 0.25 ** (1 / 2.4) - 0.055)).max() < 1e-4


def test_what_is_lost_is_said(tmp_path):
    pages = [Image.fromarray(draw(3)) for _ in range(3)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    assert "first of 3 pages" in still_header(tmp_path / "pages.tif").notes[0]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    pages[0].save(tmp_path / "profile.png", icc_profile=profile)
    assert "profile" in still_header(tmp_path / "profile.png").notes[0]
    pages[0].save(
        tmp_path / "usual.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    )
    assert still_header(tmp_path / "usual.png").notes == ()


def test_bad_images_are_named(tmp_path):
    cv2.imwrite(str(tmp_path / "whole.png"), draw(3, np.uint16).repeat(30, axis=0))
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "text.exr").write_text("hello")
    (tmp_path / "empty.png").touch()
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    (tmp_path / "ten.pgm").write_bytes(b"P5\n2 1\n1023\n\0\1\3\xff")
    for name, message in [
        ("cut.png", "cut.png"),
        ("text.png", "cannot be read"),
        ("text.exr", "text.exr"),
        ("empty.png", "is empty"),
        ("float.tif", "floating-point"),
        ("ten.pgm", "10 bits"),
        ("absent.png", "does not exist"),
    ]:
        with pytest.raises(UserError, match=message):
            read_still(tmp_path / name)


def test_names_of_pictures():
    assert is_still("A.EXR")
    assert is_still("a.gif")
    assert not is_still("a.mp4")
