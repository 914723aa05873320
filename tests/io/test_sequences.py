import os
import struct

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from seedvr2.errors import UserError
from seedvr2.io.media import open_media
from seedvr2.io.mux import assemble
from seedvr2.io.picture import Colors
from tests.io.films import encoding_for, film, moving, noise, segments_of, source_like


def stored(path):
    """The samples of a picture file as (H,W,C) RGB(A)."""
    samples = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return samples[..., [2, 1, 0, 3][: samples.shape[2]]]


@pytest.mark.parametrize("picture", ["png", "tiff", "webp"])
@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_pictures_come_back_bit_for_bit(tmp_path, picture, bits, has_alpha):
    if picture == "webp" and bits == 16:
        bits, has_alpha = 8, True
    source = source_like(bits=bits, has_alpha=has_alpha)
    encoding = encoding_for("folder", source=source, is_folder=True, picture=picture)
    assert encoding.depth == bits
    pictures = [noise(index, width=33, height=7, bits=bits, alpha=has_alpha) for index in range(3)]
    film(tmp_path / "folder", encoding, pictures)
    names = sorted(os.listdir(tmp_path / "folder"))
    assert names == [f"{number:08d}{encoding.suffix}" for number in range(3)]
    for name, written in zip(names, pictures, strict=True):
        expected = np.dstack([written.rgb, written.alpha]) if has_alpha else written.rgb
        assert np.array_equal(stored(tmp_path / "folder" / name), expected)


def test_pillow_reads_the_transparency_of_tiff_as_such(tmp_path):
    encoding = encoding_for("a.tif", source=source_like(has_alpha=True))
    picture = noise(0, alpha=True)
    film(tmp_path / "a.tif", encoding, [picture])
    with Image.open(tmp_path / "a.tif") as image:
        assert np.array_equal(np.asarray(image.convert("RGBA")), np.dstack([picture.rgb, picture.alpha]))


@pytest.mark.parametrize("has_alpha", [False, True])
def test_exr_is_linear_light_that_gives_back_16_bits(tmp_path, has_alpha):
    encoding = encoding_for("a.exr", source=source_like(has_alpha=has_alpha))
    picture = noise(0, bits=16, alpha=has_alpha)
    film(tmp_path / "a.exr", encoding, [picture])
    with av.open(str(tmp_path / "a.exr")) as container:
        frame = next(container.decode(video=0))
    assert frame.format.name == ("gbrapf32le" if has_alpha else "gbrpf32le")
    planes = [np.frombuffer(p, "<f4").reshape(48, -1)[:, :64].astype(float) for p in frame.planes]
    linear = np.stack([planes[i] for i in (2, 0, 1)], axis=-1)
    if has_alpha:
        assert np.array_equal(np.round(planes[3] * 65535), picture.alpha)
        linear /= planes[3][..., None]  # colours are stored multiplied by alpha
    encoded = np.where(linear <= 0.04045 / 12.92, linear * 12.92, 1.055 * np.abs(linear) ** (1 / 2.4) - 0.055)
    assert np.array_equal(np.round(encoded * 65535), picture.rgb)
    assert abs(linear[picture.rgb > 65000].min() - 0.98) < 0.01
    with open_media(tmp_path / "a.exr") as media:
        (back,) = media.pictures()
    assert np.array_equal(back.rgb, picture.rgb)


def test_jpeg_is_close(tmp_path):
    picture = moving(0, bits=16)
    film(tmp_path / "a.jpg", encoding_for("a.jpg"), [picture])
    assert np.abs(stored(tmp_path / "a.jpg") - picture.rgb / 257).mean() < 1.5


def test_png_names_the_curve_of_hdr(tmp_path):
    source = source_like(bits=10, colors=Colors(9, 9, 16, 1))
    picture = noise(0, bits=16)
    film(tmp_path / "hdr.png", encoding_for("a.png", source=source), [picture])
    data = (tmp_path / "hdr.png").read_bytes()
    assert data[33:45] == struct.pack(">I", 4) + b"cICP" + bytes([9, 16, 0, 1])
    assert np.array_equal(stored(tmp_path / "hdr.png"), picture.rgb)
    with av.open(str(tmp_path / "hdr.png")) as container:
        frame = next(container.decode(video=0))
    assert (frame.color_primaries, frame.color_trc) == (9, 16)
    film(tmp_path / "a.png", encoding_for("a.png"), [picture])
    assert b"cICP" not in (tmp_path / "a.png").read_bytes()


def test_segments_become_one_folder_and_stay(tmp_path):
    encoding = encoding_for("folder", is_folder=True)
    pictures = [noise(index, width=8, height=8) for index in range(7)]
    clock, segments = segments_of(tmp_path / "work", encoding, pictures, cuts=(2, 3))
    for _ in range(2):  # also over an older result
        assert assemble(tmp_path / "out", segments, encoding, source=None, clock=clock) == []
        files = sorted((tmp_path / "out").iterdir())
        assert [file.name for file in files] == [f"{number:08d}.png" for number in range(7)]
        assert all(np.array_equal(stored(file), p.rgb) for file, p in zip(files, pictures, strict=True))
    assert [len(os.listdir(segment)) for segment in segments] == [2, 1, 4]
    assert files[3].stat().st_ino == (segments[2] / files[3].name).stat().st_ino  # nothing is copied
    assert sorted(os.listdir(tmp_path)) == ["out", "work"]


def test_other_files_of_a_folder_are_not_removed(tmp_path):
    encoding = encoding_for("folder", is_folder=True)
    clock, segments = segments_of(tmp_path / "work", encoding, [noise(0)])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt beside pictures; choose another folder"):
        assemble(tmp_path / "out", segments, encoding, source=None, clock=clock)
    assert os.listdir(tmp_path / "out") == ["notes.txt"]


def test_several_pictures_do_not_fit_into_one_file(tmp_path):
    with pytest.raises(UserError, match="one picture, not 2"):
        film(tmp_path / "a.png", encoding_for("a.png"), [noise(0), noise(1)])
    assert os.listdir(tmp_path) == ["a.png.work"]
