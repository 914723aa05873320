"""Properties of crops and camera moves."""

import numpy as np
import pytest

from seedvr2.data.view import camera_move, random_crop
from seedvr2.errors import UserError


def plane(height=90, width=120):
    """A picture whose red tells the row and whose green tells the column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([2 * rows, 2 * columns, np.zeros_like(rows)], axis=2).astype(np.uint8)


def test_unshrunk_crops_are_exact_parts():
    clip = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    crop = random_crop(np.random.default_rng(1), clip, (8, 12), shrink=(1.0, 1.0))
    parts = [clip[:, y : y + 8, x : x + 12] for y in range(13) for x in range(19)]
    assert any(np.array_equal(np.rint(crop * 255), part) for part in parts)


def test_crops_reach_every_border_and_never_leave_the_picture():
    tops, lefts = set(), set()
    for seed in range(200):
        crop = random_crop(np.random.default_rng(seed), plane(12, 12)[None], (8, 8), shrink=(1.0, 1.0))
        tops.add(round(crop[0, 0, 0, 0] * 255 / 2))
        lefts.add(round(crop[0, 0, 0, 1] * 255 / 2))
    assert tops == lefts == set(range(5))


def test_shrinking_averages():
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 255
    clip = np.repeat(checks[None, ..., None], 3, axis=3).astype(np.uint8)
    crop = random_crop(np.random.default_rng(0), clip, (32, 32), shrink=(2.0, 2.0))
    assert np.allclose(crop, 0.5, atol=1e-6)


def test_too_small_pictures_are_refused():
    for shrink in ((1.0, 1.0), (1.5, 2.0)):
        view = (round(91 / shrink[0]), 16)
        with pytest.raises(UserError, match="too small"):
            random_crop(np.random.default_rng(0), plane()[None], view, shrink=shrink)
        with pytest.raises(UserError, match="too small"):
            camera_move(np.random.default_rng(0), plane(), 3, view, shrink=shrink, pan=0.03)


@pytest.mark.parametrize("shrink", [(1.0, 1.0), (1.0, 2.0)])
def test_camera_moves_are_steady_slow_and_inside(shrink):
    for seed in range(30):
        clip = camera_move(np.random.default_rng(seed), plane(), 9, (32, 40), shrink=shrink, pan=0.03) * 255 / 2
        assert clip.shape == (9, 32, 40, 3)
        middle = clip[:, 16, 20, :2]
        steps = np.diff(middle, axis=0)
        assert np.abs(steps).max() < 3
        # Averaging by a fractional factor displaces single pixels by up to a quarter of a row.
        assert np.abs(np.diff(steps, axis=0)).max() < 0.5
        # Inside the picture the plane is linear, beyond its border a reflection would bend it.
        assert np.abs(np.diff(clip[:, 3:-3, 3:-3, 0], n=2, axis=1)).max() < 1
        assert np.all(np.diff(clip[:, :, 3:-3, 1], axis=2) > 0)


def test_a_still_camera_reproduces_the_pixels():
    picture = np.random.default_rng(3).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    clip = camera_move(np.random.default_rng(0), picture, 4, (16, 24), shrink=(1.0, 1.0), pan=0.03)
    assert np.abs(clip - picture / np.float32(255)).max() < 1e-4


def test_most_camera_moves_do_move_and_faster_where_they_may():
    moved, speeds = 0, {0.03: 0.0, 0.2: 0.0}
    for seed in range(20):
        for pan in speeds:
            clip = camera_move(np.random.default_rng(seed), plane(), 5, (32, 32), shrink=(1.0, 1.0), pan=pan)
            middle = clip[:, 16, 16, :2] * 255 / 2
            speeds[pan] = max(speeds[pan], np.abs(np.diff(middle, axis=0)).max())
            moved += pan < 0.1 and np.abs(clip[0] - clip[-1]).mean() * 255 > 0.5
    assert moved > 12
    assert speeds[0.03] < 1.5 < 3 < speeds[0.2] < 7.5
