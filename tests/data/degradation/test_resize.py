"""Properties of resizing clips."""

import numpy as np

from seedvr2.data.degradation.draw import Draw
from seedvr2.data.degradation.resize import INTERPOLATIONS, RandomResize, TargetResize, resized


def clip(height=40, width=24):
    return np.random.default_rng(1).random((3, height, width, 3), dtype=np.float32)


def test_random_sizes_are_even_and_within_the_range():
    operation = RandomResize({"up": 1, "down": 1, "keep": 1}, up=(1, 1.5), down=(0.15, 1))
    modes = set()
    for seed in range(60):
        draw = Draw(np.random.default_rng(seed), (1, 1))
        out = operation(clip(), draw)
        entry = draw.record[0]
        modes.add(entry["mode"])
        assert out.shape == (3, *entry["size"], 3)
        assert out.shape[1] % 2 == out.shape[2] % 2 == 0
        low, high = {"up": (40, 60), "down": (6, 40), "keep": (40, 40)}[entry["mode"]]
        assert low - 2 < out.shape[1] <= high
    assert modes == {"up", "down", "keep"}


def test_tiny_clips_do_not_vanish():
    operation = RandomResize({"down": 1}, down=(0.15, 0.15), minimum=4)
    assert operation(clip(8, 8), Draw(np.random.default_rng(0), (1, 1))).shape == (3, 4, 4, 3)


def test_target_resize_reaches_the_target():
    assert TargetResize()(clip(), Draw(np.random.default_rng(0), (10, 6))).shape == (3, 10, 6, 3)


def test_interpolations_keep_flat_pictures():
    flat = np.full((1, 12, 12, 3), 0.4, np.float32)
    for name in INTERPOLATIONS:
        for size in ((5, 7), (19, 30)):
            assert np.allclose(resized(flat, size, interpolation=name), 0.4, atol=1e-5)


def test_area_reduction_is_the_mean():
    expected = clip().reshape(3, 10, 4, 6, 4, 3).mean(axis=(2, 4))
    assert np.allclose(resized(clip(), (10, 6), interpolation="area"), expected, atol=1e-5)
