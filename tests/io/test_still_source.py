"""Properties of pictures from image files: order, one size and depth, stamps, animations."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from PIL import Image

from seedvr2.errors import UserError
from seedvr2.io.media import open_media


def draw(seed, channels=3, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (8, 12, channels), dtype=dtype, endpoint=True)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "frames"
    path.mkdir()
    (path / ".DS_Store").touch()
    (path / "notes.txt").write_text("a note")
    return path


def read(path, **options):
    with open_media(path, **options) as media:
        return list(media.pictures()), media.info


def test_a_still_is_one_picture_without_a_rate(tmp_path):
    Image.fromarray(draw(0, 4)).save(tmp_path / "a.png")
    pictures, info = read(tmp_path / "a.png")
    assert (info.kind, info.rate, info.time_base, info.frames, info.start) == ("image", None, 1, 1, None)
    assert (info.bits, info.has_alpha, info.width, info.height, info.codec) == (8, True, 12, 8, "png")
    assert len(pictures) == 1
    assert np.array_equal(pictures[0].rgb, draw(0, 4)[..., :3])
    assert np.array_equal(pictures[0].alpha, draw(0, 4)[..., 3])


@pytest.mark.parametrize("bits", [8, 16])
def test_depth_is_converted_on_request(tmp_path, bits):
    Image.fromarray(draw(0)).save(tmp_path / "shallow.png")
    cv2.imwrite(str(tmp_path / "deep.png"), draw(0, 3, np.uint16)[..., ::-1])
    shallow, deep = (read(tmp_path / name, bits=bits)[0][0].rgb for name in ("shallow.png", "deep.png"))
    assert shallow.dtype == deep.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert np.array_equal(shallow, draw(0) if bits == 8 else draw(0).astype(np.uint16) * 257)
    whole = draw(0, 3, np.uint16)
    assert np.array_equal(deep, np.rint(whole / 257) if bits == 8 else whole)
    assert any("rounded to 8" in note for note in read(tmp_path / "deep.png", bits=bits)[1].notes) == (bits == 8)


def test_frames_of_a_folder_come_in_natural_order_at_the_given_rate(folder):
    for number in range(1, 12):
        Image.fromarray(draw(number)).save(folder / f"{number}.png")
    pictures, info = read(folder, rate=Fraction(30000, 1001))
    assert (info.kind, info.rate, info.time_base, info.start) == (
        "frames",
        Fraction(30000, 1001),
        Fraction(1001, 30000),
        0,
    )
    assert info.duration == pytest.approx(11 * 1001 / 30000)
    assert [picture.pts for picture in pictures] == list(range(11))
    assert all(np.array_equal(picture.rgb, draw(number)) for number, picture in enumerate(pictures, 1))
    assert read(folder)[1].rate == 24
    assert read(folder)[1].notes == ()


def test_frames_of_different_depth_and_alpha_become_alike(folder):
    Image.fromarray(draw(1)).save(folder / "1.png")
    cv2.imwrite(str(folder / "2.png"), draw(2, 4, np.uint16))
    pictures, info = read(folder)
    assert (info.bits, info.has_alpha) == (16, True)
    assert np.array_equal(pictures[0].rgb, draw(1).astype(np.uint16) * 257)
    assert (pictures[0].alpha == 65535).all()
    assert np.array_equal(pictures[1].alpha, draw(2, 4, np.uint16)[..., 3])


def test_frames_of_different_sizes_are_refused(folder):
    Image.fromarray(draw(1)).save(folder / "1.png")
    Image.fromarray(draw(1)[:4]).save(folder / "2.png")
    with pytest.raises(UserError, match=r"2\.png has 12x4 pixels and 1\.png has 12x8.*\*\.png"):
        open_media(folder)


def test_missing_numbers_are_told(folder):
    for number in (3, 4, 7):
        Image.fromarray(draw(number)).save(folder / f"f{number:03}.png")
    pictures, info = read(folder)
    assert len(pictures) == 3
    assert any("2 numbers are missing" in note for note in info.notes)


def test_a_folder_without_frames_is_refused(folder):
    with pytest.raises(UserError, match="no folder of numbered frames"):
        open_media(folder)


def test_a_damaged_frame_is_named(folder):
    for number in (1, 2):
        Image.fromarray(draw(number).repeat(20, 0)).save(folder / f"{number}.png")
    data = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(data[: len(data) // 2])
    with open_media(folder) as media, pytest.raises(UserError, match=r"2\.png"):
        list(media.pictures())


def test_animated_webp_keeps_pictures_alpha_and_stamps(tmp_path):
    images = [Image.fromarray(draw(number, 4)) for number in range(4)]
    durations = [40, 120, 80, 40]
    images[0].save(
        tmp_path / "a.webp", save_all=True, append_images=images[1:], duration=durations, lossless=True, exact=True
    )
    pictures, info = read(tmp_path / "a.webp")
    assert (info.kind, info.frames, info.time_base, info.has_alpha) == ("video", 4, Fraction(1, 1000), True)
    assert [picture.pts for picture in pictures] == [0, 40, 160, 240]
    for number, picture in enumerate(pictures):
        assert np.array_equal(picture.alpha, draw(number, 4)[..., 3])
        seen = picture.alpha > 0
        assert np.abs(picture.rgb[seen].astype(int) - draw(number, 4)[..., :3][seen]).max() == 0
