"""Pairs that people bring: the same window and the same place on both sides, and mistakes named."""

import cv2
import numpy as np
import pytest
import torch

from seedvr2.data.own_pairs import OwnPairs
from seedvr2.data.shapes import Shape
from seedvr2.errors import UserError
from seedvr2.io.images import write_image
from seedvr2.io.writer import VideoWriter

SHAPE = Shape(5, 32, 48)


def clip(frames: int, height: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    blobs = rng.integers(0, 256, (frames, height // 8, width // 8, 3), dtype=np.uint8)
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in blobs])


def write(path, frames: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mkv":
        with VideoWriter(path, width=frames.shape[2], height=frames.shape[1], rate=24, is_lossless=True) as writer:
            for number, frame in enumerate(frames):
                writer.write(frame, pts=number)
    elif path.suffix:
        write_image(path, frames[0])
    else:
        path.mkdir()
        for number, frame in enumerate(frames):
            write_image(path / f"{number:04}.png", frame)


def reduced(frames: np.ndarray, scale: int) -> np.ndarray:
    size = frames.shape[2] // scale, frames.shape[1] // scale
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


@pytest.fixture
def folders(tmp_path):
    """A video, a folder of frames and an image; their low-quality versions are area averages."""
    for number, (name, other, frames) in enumerate(
        [("a/one.mkv", "a/one.mkv", 9), ("two", "two", 7), ("three.png", "three.bmp", 1)]
    ):
        clean = clip(frames, 96, 128, number)
        write(tmp_path / "hq" / name, clean)
        write(tmp_path / "lq" / other, reduced(clean, 4))
    return tmp_path / "hq", tmp_path / "lq"


def test_both_sides_show_the_same_window_place_and_orientation(folders):
    pairs = OwnPairs(*folders, shapes=[SHAPE], vertical_flip=0.5)
    seen = set()
    for position in range(12):
        pair = pairs.draw((0, "x", 0, position), SHAPE)
        assert pair.hq.shape == pair.lq.shape == (5, 3, 32, 48)
        small = torch.nn.functional.avg_pool2d(pair.hq, 4)
        again = torch.nn.functional.interpolate(small, size=(32, 48), mode="bicubic", antialias=True).clamp(-1, 1)
        assert (again - pair.lq).abs().max() < 0.02  # the low-quality file is rounded to bytes
        seen.add(round(float(pair.hq.mean()), 4))
    assert len(seen) > 8


def test_a_key_names_one_pair(folders):
    one, two = (OwnPairs(*folders, shapes=[SHAPE]) for _ in range(2))
    one.draw((9,), SHAPE)
    key = (0, "base", 3, 1)
    assert torch.equal(one.draw(key, SHAPE).lq, two.draw(key, SHAPE).lq)
    assert torch.equal(one.hq(key, SHAPE), two.draw(key, SHAPE).hq)


def test_single_frames_come_from_everything_and_long_clips_from_what_is_long_enough(folders):
    single, long = Shape(1, 96, 128), Shape(8, 32, 32)
    pairs = OwnPairs(*folders, shapes=[single, long])
    assert [len(pairs.fitting[shape.size]) for shape in (single, long)] == [3, 1]


def test_a_file_that_vanishes_costs_one_sample(folders):
    pairs = OwnPairs(*folders, shapes=[SHAPE])
    (folders[1] / "a/one.mkv").unlink()
    drawn = [pairs.draw((0, position), SHAPE) for position in range(8)]
    assert len(drawn) == 8
    assert 0 < pairs.failures <= 8


def test_every_clean_file_has_one_low_quality_version(folders):
    pairs = OwnPairs(*folders, shapes=[SHAPE])
    hq, (lq,), records = pairs.draws((0, 1), SHAPE, 1)
    assert hq.shape == lq.shape
    assert records == [[]]
    with pytest.raises(UserError, match="draws is 2"):
        pairs.draws((0, 1), SHAPE, 2)


def test_files_without_twins_are_named(folders):
    write(folders[0] / "four.png", clip(1, 96, 128, 5))
    with pytest.raises(UserError, match=r"four is in .*hq but not in .*lq"):
        OwnPairs(*folders, shapes=[SHAPE])


def test_two_files_of_one_name_are_refused(folders):
    write(folders[1] / "three.png", clip(1, 24, 32, 5))
    with pytest.raises(UserError, match="two files named three"):
        OwnPairs(*folders, shapes=[SHAPE])


def test_other_sizes_and_lengths_are_named(folders):
    with pytest.raises(UserError, match=r"128x96 and .* 32x24, which is no x2"):
        OwnPairs(*folders, shapes=[SHAPE], scale=2)
    (folders[1] / "two" / "0006.png").unlink()
    with pytest.raises(UserError, match=r"has 7 frames, .* 6"):
        OwnPairs(*folders, shapes=[SHAPE])


def test_shapes_that_nothing_fills_are_refused(folders):
    with pytest.raises(UserError, match=r"no pair fills Shape\(frames=33"):
        OwnPairs(*folders, shapes=[Shape(33, 32, 32)])
