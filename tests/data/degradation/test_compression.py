"""Properties of JPEG and video compression: same frames, same size, reproducible, worse with fewer bits."""

import numpy as np
import pytest

from seedvr2.data.degradation.compression import Jpeg, VideoCodec
from seedvr2.data.degradation.draw import Draw
from seedvr2.data.procedural import ProceduralClips
from seedvr2.errors import UserError


def drawn(frames, height, width, seed=0):
    return ProceduralClips().clip(np.random.default_rng(seed), frames, height, width)


def draw(seed=0):
    return Draw(np.random.default_rng(seed), (1, 1))


def deviation(first, second):
    return float(np.sqrt(np.mean((first - second) ** 2)))


def test_colours_survive_the_codec():
    flat = np.empty((3, 32, 32, 3), np.float32)
    flat[:] = (0.8, 0.3, 0.1)
    out = VideoCodec({"libx264": 1}, bits=(4, 4))(flat, draw())
    assert np.abs(out - flat).max() < 0.03


def test_per_pixel_budgets_scale_with_the_picture_and_per_frame_budgets_do_not():
    for rate, bits, factor in (("per_pixel", (0.2, 0.2), 4), ("per_frame", (5000, 5000), 1)):
        budgets = []
        for side in (32, 64):
            one = draw()
            VideoCodec({"mpeg4": 1}, bits=bits, rate=rate)(drawn(2, side, side), one)
            budgets.append(one.record[0]["bits_per_frame"])
        assert budgets[1] == pytest.approx(factor * budgets[0], rel=0.01)


def test_per_pixel_budgets_are_log_uniform():
    budgets = []
    for seed in range(300):
        one = draw(seed)
        VideoCodec({"mpeg4": 1}, bits=(0.03, 1.5), minimum_frames=1)(np.zeros((1, 64, 64, 3), np.float32), one)
        budgets.append(one.record[0]["bits_per_frame"] / 64**2)
    assert np.median(budgets) == pytest.approx(np.sqrt(0.03 * 1.5), rel=0.35)
    assert min(budgets) >= 0.0299
    assert max(budgets) <= 1.501


def test_per_frame_budgets_are_uniform_and_recorded_per_pixel():
    budgets = []
    for seed in range(300):
        one = draw(seed)
        operation = VideoCodec({"mpeg4": 1}, bits=(1e3, 1e4), rate="per_frame", minimum_frames=1)
        operation(np.zeros((1, 16, 32, 3), np.float32), one)
        entry = one.record[0]
        assert round(entry["bits_per_pixel"] * 16 * 32) == entry["bits_per_frame"]
        budgets.append(entry["bits_per_frame"])
    assert np.mean(budgets) == pytest.approx(5500, rel=0.1)
    assert min(budgets) >= 1000
    assert max(budgets) <= 10_000


def test_single_images_skip_the_video_codec():
    clip = drawn(1, 16, 16)
    assert VideoCodec({"libx264": 1})(clip, draw()) is clip


def test_jpeg_keeps_size_and_degrades_with_quality():
    clip = drawn(2, 37, 23)
    errors = [deviation(Jpeg((quality, quality))(clip, draw()), clip) for quality in (95, 60, 20)]
    assert errors[0] < errors[1] < errors[2]
    assert Jpeg()(clip, draw()).shape == clip.shape


def test_jpeg_keeps_the_channel_order_and_clips_first():
    wild = np.empty((1, 32, 32, 3), np.float32)
    wild[:] = (1.4, 0.5, -0.3)
    out = Jpeg((95, 95))(wild, draw())
    assert np.abs(out - np.array([1, 0.5, 0], np.float32)).max() < 0.03


def test_wrong_parameters_are_named():
    with pytest.raises(UserError, match="theora"):
        VideoCodec({"theora": 1})
    with pytest.raises(UserError, match="rate"):
        VideoCodec({"mpeg4": 1}, rate="crf")
    with pytest.raises(UserError, match="positive"):
        VideoCodec({"mpeg4": 1}, bits=(0, 1))
