"""Properties of image reading and writing: every mode becomes upright RGB, writing is all or nothing."""

import numpy as np
import pytest
from PIL import Image

from seedvr2.errors import UserError
from seedvr2.io.images import image_size, is_image, read_image, write_image


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def test_written_image_comes_back(tmp_path, picture):
    write_image(tmp_path / "a.png", picture)
    assert np.array_equal(read_image(tmp_path / "a.png"), picture)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_failed_write_leaves_nothing(tmp_path, picture):
    with pytest.raises(TypeError):
        write_image(tmp_path / "a.png", picture[..., :2].reshape(3, 6, 3, 2))
    with pytest.raises(UserError, match="image suffix"):
        write_image(tmp_path / "a.mp3", picture)
    with pytest.raises(UserError, match="does not exist"):
        write_image(tmp_path / "absent" / "a.png", picture)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("is_gray", [False, True])
def test_exif_orientation_turns_the_image_upright(tmp_path, picture, suffix, is_gray):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture[..., 0] if is_gray else picture).save(path, exif=exif)
    expected = np.rot90(np.repeat(picture[..., :1], 3, axis=2) if is_gray else picture, k=-1)
    assert np.array_equal(read_image(path), expected)
    with path.open("rb") as file:
        assert np.array_equal(read_image(path, file=file), expected)
    assert image_size(path) == expected.shape[:2]


def test_sixteen_bit_gray_keeps_its_high_byte(tmp_path):
    gray = np.array([[0, 255, 256], [32768, 65280, 65535]], np.uint16)
    Image.fromarray(gray).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image[..., 0].tolist() == [[0, 0, 1], [128, 255, 255]]
    assert np.array_equal(image[..., 0], image[..., 2])


def test_alpha_is_dropped_and_colours_stay(tmp_path, picture):
    alpha = np.zeros((6, 9, 1), np.uint8)
    Image.fromarray(np.concatenate([picture, alpha], axis=2)).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), picture)


@pytest.mark.parametrize(("mode", "suffix"), [("P", "png"), ("L", "png"), ("1", "png"), ("LA", "png"), ("CMYK", "tif")])
def test_other_modes_become_rgb(tmp_path, picture, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    original = Image.fromarray(picture).convert(mode)
    original.save(path)
    image = read_image(path)
    assert image.dtype == np.uint8
    assert np.array_equal(image, np.asarray(original.convert("RGB")))


def test_bad_images_are_named(tmp_path, picture):
    Image.fromarray(picture.repeat(20, 0).repeat(20, 1)).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 3])
    (tmp_path / "text.png").write_text("hello")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    cases = [("cut.jpg", "cannot be read"), ("text.png", "cannot be read"), ("float.tif", "floating-point")]
    for name, message in [*cases, ("absent.png", "does not exist")]:
        with pytest.raises(UserError, match=message):
            read_image(tmp_path / name)


def test_pictures_that_a_format_cannot_hold_are_told_and_leave_nothing(tmp_path):
    with pytest.raises(UserError, match=r"a\.webp cannot be written"):
        write_image(tmp_path / "a.webp", np.zeros((1, 16384, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_image_names_are_recognised():
    assert is_image("a/B.JPG")
    assert not is_image("a.mp4")
