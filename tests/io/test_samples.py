"""Properties of sample conversion: RGB and gray are exact, YUV is the matrix of its tag rounded once."""

import itertools

import av
import numpy as np
import pytest

from seedvr2.errors import UserError
from seedvr2.io.samples import Siting, layout_of, matrix_of, picture_samples, planar, rescaled, siting_of

HEIGHT, WIDTH = 18, 25
WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
MIDDLE = Siting(0.5, 0.5)


def make_frame(pixel_format, planes, *, matrix=2, color_range=0):
    """A frame from (rows, samples) arrays, one per plane."""
    height, width = planes[0].shape[:2]
    frame = av.VideoFrame(width, height, pixel_format)
    for plane, samples in zip(frame.planes, planes, strict=True):
        flat = samples.reshape(len(samples), -1)
        rows = np.zeros((plane.buffer_size // plane.line_size, plane.line_size // flat.itemsize), flat.dtype)
        rows[: len(flat), : flat.shape[1]] = flat
        plane.update(rows.tobytes())
    frame.colorspace, frame.color_range = matrix, color_range
    return frame


def draw(depth, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 2**depth, shape).astype("u1" if depth == 8 else "<u2")


def reference(planes, matrix, is_full, depth):
    """Planes of one size -> RGB between 0 and 1 in double precision, from the definition of H.273."""
    red, blue = WEIGHTS[matrix]
    unit, largest = 2 ** (depth - 8), 2**depth - 1
    black, luma, chroma = (0, largest, largest) if is_full else (16 * unit, 219 * unit, 224 * unit)
    y = (planes[0].astype(np.float64) - black) / luma
    b, r = ((plane.astype(np.float64) - 128 * unit) / chroma for plane in planes[1:3])
    r, b = y + 2 * (1 - red) * r, y + 2 * (1 - blue) * b
    return np.stack([r, (y - red * r - blue * b) / (1 - red - blue), b], axis=2).clip(0, 1)


@pytest.mark.parametrize("depth", [8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("bits", [8, 16])
def test_full_range_integers_are_rounded_to_the_nearest(depth, bits):
    codes = np.arange(2**depth).astype(np.uint8 if depth == 8 else np.uint16)
    largest, wanted = 2**depth - 1, 2**bits - 1
    found = rescaled(codes, depth, bits)
    assert found.dtype == (np.uint8 if bits == 8 else np.uint16)
    distance = np.abs(found.astype(np.int64) * largest - codes.astype(np.int64) * wanted)
    assert (2 * distance).max() <= largest
    assert (found[0], found[-1]) == (0, wanted)


def test_eight_bits_become_sixteen_by_repeating_the_byte():
    codes = np.arange(256, dtype=np.uint8)
    assert np.array_equal(rescaled(codes, 8, 16), codes.astype(np.uint16) * 257)


@pytest.mark.parametrize(
    "pixel_format", ["gbrp", "gbrp10le", "gbrp12le", "gbrp16le", "gbrap", "gbrap10le", "gbrap16le"]
)
def test_planar_rgb_is_exact(pixel_format):
    layout = layout_of(pixel_format)
    planes = [draw(layout.depth, (HEIGHT, WIDTH), seed) for seed in range(3 + layout.has_alpha)]
    rgb, alpha = picture_samples(make_frame(pixel_format, planes), 16)
    green, blue, red = (np.rint(plane * (65535 / (2**layout.depth - 1))).astype(np.uint16) for plane in planes[:3])
    assert np.array_equal(rgb, np.stack([red, green, blue], axis=2))
    assert (alpha is not None) == layout.has_alpha
    if layout.has_alpha:
        assert np.array_equal(alpha, np.rint(planes[3] * (65535 / (2**layout.depth - 1))))


@pytest.mark.parametrize(
    ("pixel_format", "order"),
    [("rgb24", "rgb"), ("bgr24", "bgr"), ("bgra", "bgra"), ("argb", "argb"), ("bgr0", "bgr0"), ("rgba", "rgba")],
)
def test_packed_rgb_is_exact(pixel_format, order):
    samples = draw(8, (HEIGHT, WIDTH, len(order)))
    rgb, alpha = picture_samples(make_frame(pixel_format, [samples]), 8)
    assert np.array_equal(rgb, samples[..., [order.index(channel) for channel in "rgb"]])
    assert (alpha is None) == ("a" not in order)
    if alpha is not None:
        assert np.array_equal(alpha, samples[..., order.index("a")])


@pytest.mark.parametrize("pixel_format", ["rgb48le", "rgb48be", "rgba64le", "rgba64be"])
def test_packed_rgb_of_sixteen_bits_is_exact(pixel_format):
    samples = draw(16, (HEIGHT, WIDTH, 4 if "a" in pixel_format else 3))
    stored = samples.astype(">u2") if pixel_format.endswith("be") else samples
    rgb, alpha = picture_samples(make_frame(pixel_format, [stored]), 16)
    assert np.array_equal(rgb, samples[..., :3])
    assert alpha is None or np.array_equal(alpha, samples[..., 3])


@pytest.mark.parametrize(("pixel_format", "depth"), [("gray", 8), ("gray10le", 10), ("gray16le", 16)])
def test_gray_is_of_full_range_unless_tagged_otherwise(pixel_format, depth):
    codes = draw(depth, (HEIGHT, WIDTH))
    largest, unit = 2**depth - 1, 2 ** (depth - 8)
    for color_range in (0, 2):
        rgb, _ = picture_samples(make_frame(pixel_format, [codes], color_range=color_range), 16)
        assert np.array_equal(rgb, np.repeat(np.rint(codes[..., None] * (65535 / largest)), 3, axis=2))
    rgb, _ = picture_samples(make_frame(pixel_format, [codes], color_range=1), 16)
    expected = ((codes.astype(float) - 16 * unit) / (219 * unit)).clip(0, 1) * 65535
    assert np.abs(rgb - expected[..., None]).max() <= 0.5 + 1e-6


def test_gray_with_alpha_is_exact():
    samples = draw(8, (HEIGHT, WIDTH, 2))
    rgb, alpha = picture_samples(make_frame("ya8", [samples]), 8)
    assert np.array_equal(rgb, np.repeat(samples[..., :1], 3, axis=2))
    assert np.array_equal(alpha, samples[..., 1])


@pytest.mark.parametrize("depth", [8, 10, 12, 16])
def test_yuv_follows_the_matrix_and_range_of_its_tags_rounded_once(depth):
    name = "yuv444p" + ("" if depth == 8 else f"{depth}le")
    planes = [draw(depth, (HEIGHT, WIDTH), seed) for seed in range(3)]
    for matrix, is_full, bits in itertools.product(WEIGHTS, (False, True), (8, 16)):
        rgb, _ = picture_samples(make_frame(name, planes, matrix=matrix, color_range=1 + is_full), bits)
        error = np.abs(rgb - reference(planes, matrix, is_full, depth) * (2**bits - 1)).max()
        assert error <= (0.501 if bits == 8 else 0.52), (matrix, is_full, bits)


def test_black_white_and_gray_of_limited_range_are_exact():
    for depth in (8, 10):
        unit = 2 ** (depth - 8)
        luma = np.array([[16, 235, 0, 255]]).astype("u1" if depth == 8 else "<u2") * unit
        middle = np.full_like(luma, 128 * unit)
        name = "yuv444p" + ("" if depth == 8 else f"{depth}le")
        rgb, _ = picture_samples(make_frame(name, [luma, middle, middle], matrix=1, color_range=1), 16)
        assert rgb.tolist() == [[[0] * 3, [65535] * 3, [0] * 3, [65535] * 3]]


@pytest.mark.parametrize("siting", [Siting(), MIDDLE, Siting(0, 0)])
@pytest.mark.parametrize(("sampling", "across", "down"), [("420", 2, 2), ("422", 2, 1), ("411", 4, 1)])
def test_chroma_is_interpolated_at_its_place(siting, sampling, across, down):
    height, width = 100, 32  # more lines than are converted at once
    ramp = np.arange(64, 64 + 3 * (width // across))[::3] + np.arange(height // down)[:, None]
    luma, other = np.full((height, width), 120, np.uint8), np.full(ramp.shape, 128, np.uint8)
    frame = make_frame(f"yuv{sampling}p", [luma, other, ramp.astype(np.uint8)], matrix=1, color_range=2)
    rgb, _ = picture_samples(frame, 16, siting)
    x = (np.arange(width) - siting.across * (across - 1)) / across
    y = (np.arange(height) - siting.down * (down - 1)) / down
    expected = 120 + 2 * (1 - 0.2126) * (64 + 3 * x + y[:, None] - 128)
    inside = np.s_[down : height - down, across : width - across]
    assert np.abs(rgb[..., 0] / 257 - expected)[inside].max() < 0.01


def test_odd_sizes_keep_their_last_column_and_line():
    planes = [np.full((7, 9), 81, np.uint8), np.full((4, 5), 90, np.uint8), np.full((4, 5), 240, np.uint8)]
    rgb, _ = picture_samples(make_frame("yuv420p", planes, matrix=5, color_range=1), 8)
    assert rgb.shape == (7, 9, 3)
    assert np.abs(rgb.astype(int) - (254, 0, 0)).max() <= 1


def test_alpha_beside_yuv_is_exact():
    planes = [draw(8, shape, 1) for shape in ((8, 10), (4, 5), (4, 5), (8, 10))]
    _, alpha = picture_samples(make_frame("yuva420p", planes), 16)
    assert np.array_equal(alpha, planes[3].astype(np.uint16) * 257)


@pytest.mark.parametrize(("packed", "sampling"), [("yuyv422", "422"), ("uyvy422", "422"), ("nv12", "420")])
@pytest.mark.parametrize("color_range", [1, 2])
def test_packed_yuv_equals_its_planes(packed, sampling, color_range):
    shape = (HEIGHT // 2, WIDTH // 2) if sampling == "420" else (HEIGHT, WIDTH // 2)
    luma, blue, red = draw(8, (HEIGHT, WIDTH - 1)), draw(8, shape, 1), draw(8, shape, 2)
    if packed == "nv12":
        samples = [luma, np.stack([blue, red], axis=2)]
    else:
        parts = [luma[:, 0::2], blue, luma[:, 1::2], red]
        samples = [np.stack(parts if packed == "yuyv422" else [blue, parts[0], red, parts[2]], axis=2)]
    frame = av.VideoFrame(WIDTH - 1, HEIGHT, packed)
    for plane, values in zip(frame.planes, samples, strict=True):
        rows = np.zeros((plane.buffer_size // plane.line_size, plane.line_size), np.uint8)
        flat = values.reshape(len(values), -1)
        rows[: len(flat), : flat.shape[1]] = flat
        plane.update(rows.tobytes())
    frame.colorspace, frame.color_range = 1, color_range
    same = make_frame(f"yuv{sampling}p", [luma, blue, red], matrix=1, color_range=color_range)
    assert planar(frame).format.name == f"yuv{sampling}p"
    assert np.array_equal(picture_samples(frame, 8)[0], picture_samples(same, 8)[0])


def test_untagged_colours_are_bt709_from_720_lines_on():
    for height, matrix in [(719, 5), (720, 1)]:
        frame = av.VideoFrame(16, height, "yuv420p")
        assert matrix_of(frame) == matrix
        frame.colorspace = 9
        assert matrix_of(frame) == 9


def test_colours_that_no_matrix_describes_are_refused():
    frame = make_frame("yuv444p", [draw(8, (4, 4))] * 3, matrix=10)
    with pytest.raises(UserError, match="matrix 10"):
        picture_samples(frame, 8)


def test_old_codecs_put_chroma_in_the_middle():
    assert siting_of("mjpeg") == MIDDLE
    assert siting_of("hevc") == Siting(0, 0.5)
