"""The warping error is zero for stills, blind to motion, and grows with flicker."""

import cv2
import numpy as np
import pytest

from seedvr2.evaluation.contract import Clip, Settings
from seedvr2.evaluation.warping import WarpError, fetch, visible, warp_error

DIS = Settings(flow="dis")


def texture(height=160, width=240, seed=0):
    """Smooth detail, uint8 (H, W, 3)."""
    noise = np.random.default_rng(seed).normal(0, 1, (height, width, 3))
    layers = [cv2.GaussianBlur(noise, None, sigma) * sigma for sigma in (1.5, 5)]
    return np.clip(128 + 45 * sum(layers) / sum(layers).std(), 0, 255).astype(np.uint8)


def pan(step, count=4):
    """A window moving over a texture by whole pixels, (T, 96, 128, 3)."""
    wide = texture()
    return np.stack([wide[20:116, 20 + step * t : 148 + step * t] for t in range(count)])


def flicker(clip, strength):
    shifts = np.where(np.arange(len(clip)) % 2, strength, -strength)[:, None, None, None]
    return np.clip(clip.astype(int) + shifts, 0, 255).astype(np.uint8)


def value(prediction, gt=None, lq=None, settings=DIS):
    metric = WarpError(settings)
    metric.start(Clip("clip", len(prediction), *prediction.shape[1:3]))
    for number, frame in enumerate(prediction):
        metric.add(frame, None if gt is None else gt[number], None if lq is None else lq[number])
    return metric.result()


def test_a_still_has_no_error_and_a_single_frame_no_value():
    still = pan(0)
    assert value(still, still) == 0
    assert value(still[:1], still[:1]) is None


def test_a_pan_by_whole_pixels_has_far_less_error_than_without_its_flow():
    moving = pan(3)
    unmoved = 1000 * np.mean((np.diff(moving.astype(float), axis=0) / 255) ** 2)
    assert 0 <= value(moving, moving) < 0.02 * unmoved


def test_flicker_of_known_strength_gives_its_square_on_a_still_guide():
    clip = np.clip(pan(0), 20, 230)
    assert value(flicker(clip, 4), clip) == pytest.approx(1000 * (8 / 255) ** 2, rel=1e-4)


def test_the_error_grows_with_flicker_on_a_moving_clip():
    clip = pan(2)
    errors = [value(flicker(clip, strength), clip) for strength in (0, 2, 5)]
    assert errors[0] < errors[1] < errors[2]


def test_motion_is_taken_from_where_the_settings_say():
    moving, still = pan(2), pan(0)
    small = still[:, ::4, ::4]
    on = {kind: value(moving, still, small, DIS._replace(flow_on=kind)) for kind in ("gt", "output", "lq")}
    assert on["output"] < 0.1 * on["gt"]
    assert on["lq"] == pytest.approx(on["gt"], rel=0.1)
    assert value(moving, None, small) == on["output"]  # no ground truth: the prediction
    assert WarpError(DIS._replace(flow_on="lq")).facts.needs == "lq"


def test_a_constant_flow_fetches_the_shifted_picture():
    picture = texture().astype(np.float32)
    flow = np.zeros((*picture.shape[:2], 2), np.float32)
    flow[..., 0], flow[..., 1] = 5, 2
    assert np.array_equal(fetch(picture, flow)[:-2, :-5], picture[2:, 5:])


def test_what_leaves_the_frame_or_fails_the_way_back_is_left_out():
    forward = np.zeros((20, 30, 2), np.float32)
    forward[..., 0] = 4
    assert visible(forward, -forward).sum() == 20 * 26
    assert not visible(forward, forward).any()  # 8 pixels off
    assert visible(np.zeros_like(forward), np.zeros_like(forward) + 0.4).all()  # 0.32 < 0.5


def test_motion_boundaries_are_left_out():
    forward = np.zeros((20, 30, 2), np.float32)
    forward[:, 15:, 0] = 0.5
    seen = visible(forward, -forward)
    assert not seen[:, 14].any()
    assert seen[:, :14].all()
    assert seen[:, 15:29].all()


def test_hidden_pixels_do_not_count():
    first, second = texture(), texture()
    forward = np.zeros((*first.shape[:2], 2), np.float32)
    backward = forward.copy()
    second[:50, :50], backward[:50, :50] = 0, 10
    assert warp_error(first, second, forward, backward) == 0
    assert warp_error(first, second, forward, forward) > 0
    assert warp_error(first, second, forward, forward + 10) is None
