"""Properties of the scores of a shot."""

import cv2
import numpy as np
import pytest

from seedvr2.data.indexing.scores import SMALL_SIDE, ShotScores
from seedvr2.io.reader import read_frames
from tests.data.clips import pan, texture, with_bars, write_clip


def scores_of(frames):
    scores = ShotScores()
    for frame in frames:
        height, width = frame.shape[:2]
        factor = SMALL_SIDE / max(height, width)
        small = cv2.resize(frame, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
        scores.add(small, frame if scores.wants_full else None)
    return scores.result()


@pytest.mark.parametrize("bars", [(0, 0, 0, 0), (13, 13, 0, 0), (0, 0, 16, 15), (5, 0, 0, 0), (7, 9, 3, 11)])
def test_black_bars_are_found_to_the_pixel(bars):
    assert scores_of(with_bars(pan(0, 14), *bars)).bars == bars


def test_bars_survive_compression_noise():
    rng = np.random.default_rng(0)
    noisy = [
        np.clip(frame + rng.integers(0, 2, frame.shape), 0, 255).astype(np.uint8)
        for frame in with_bars(pan(0, 14), 10, 12, 0, 0)
    ]
    assert scores_of(noisy).bars == (10, 12, 0, 0)


def test_bars_of_compressed_clips_are_found(tmp_path):
    clip = with_bars(pan(0, 14, height=180, width=320), 21, 21, 0, 0)
    path = write_clip(tmp_path / "a.mp4", clip, options={"crf": "32"})
    found = scores_of(list(read_frames(path))).bars
    assert found[2:] == (0, 0)
    assert all(19 <= bar <= 21 for bar in found[:2])


def test_a_night_sky_is_no_bar():
    brightness = np.linspace(0, 1, 96)[:, None, None] ** 2
    fading = (texture(0) * brightness).astype(np.uint8)
    noise = np.random.default_rng(1).integers(0, 7, (96, 128, 3))
    dark_forest = texture(0)
    dark_forest[60:] = noise[60:]
    head = np.zeros((96, 128, 3), np.uint8)
    cv2.circle(head, (64, 90), 40, (200, 180, 160), -1)  # a portrait before black
    for picture in (fading, dark_forest, head):
        assert (picture[0] < 24).all() or (picture[-1] < 24).all()
        assert scores_of([picture]).bars == (0, 0, 0, 0)


def test_one_frame_that_shows_the_picture_rules_a_bar_out():
    clip = with_bars(pan(0, 26), 12, 12, 0, 0)
    clip[12] = texture(0)
    assert scores_of(clip).bars == (0, 0, 0, 0)


def test_black_frames_say_nothing_about_bars():
    clip = with_bars(pan(0, 26), 12, 12, 0, 0)
    clip[0] = np.zeros_like(clip[0])
    assert scores_of(clip).bars == (12, 12, 0, 0)
    assert scores_of([np.zeros_like(clip[0])] * 3).bars == (0, 0, 0, 0)


def test_the_static_share_counts_repeated_frames():
    assert scores_of([texture(0)] * 11).still == 1.0
    assert scores_of(pan(0, 11)).still == 0.0
    doubled = [frame for frame in pan(0, 6) for _ in range(2)]
    assert scores_of(doubled).still == pytest.approx(6 / 11)
    noise = np.random.default_rng(0)
    picture = texture(0, 240, 320)
    grainy = [np.clip(picture + noise.normal(0, 2, picture.shape), 0, 255).astype(np.uint8) for _ in range(11)]
    assert scores_of(grainy).still == 1.0


def test_slow_changes_are_not_static():
    fade = [(texture(0) * (1 - 0.004 * time)).astype(np.uint8) for time in range(30)]
    assert 0 < scores_of(fade).still < 0.9


def test_the_motion_of_a_pan_is_its_speed():
    for step in (1, 2, 4):
        clip = pan(3, 20, height=120, width=160, step=step)
        assert scores_of(clip).motion == pytest.approx(100 * step / 160, rel=0.15)
    assert scores_of([texture(0)] * 20).motion == pytest.approx(0, abs=0.02)


def test_pictures_of_any_shape_have_scores():
    for height, width in [(1, 1), (2, 300), (300, 2), (30, 160), (160, 31), (50, 320)]:
        clip = [texture(seed, height, width) for seed in range(3)]
        scores = ShotScores()
        for frame in clip:
            scores.add(frame, frame)
        assert np.isfinite(scores.result()[:4]).all()


def test_sharpness_falls_with_blur():
    blurred = [scores_of([cv2.GaussianBlur(texture(0), (0, 0), sigma)]).sharpness for sigma in (0.5, 1, 2, 4)]
    assert scores_of([texture(0)]).sharpness > blurred[0] > blurred[1] > blurred[2] > blurred[3] > 0


def test_contrast_is_that_of_the_best_frame():
    gray = np.full_like(texture(0), 128)
    luma = cv2.cvtColor(texture(0), cv2.COLOR_RGB2GRAY)
    assert scores_of([gray]).contrast == 0
    assert scores_of([gray] * 12 + [texture(0)]).contrast == pytest.approx(luma.std())
