"""What is measured over time: boundaries of latents, colour, agreement with the LQ, and the profile picture."""

import math

import cv2
import numpy as np
import pytest

from seedvr2.evaluation.contract import Clip, Settings
from seedvr2.evaluation.temporal import BoundaryJump, TemporalProfile, color_drift, lq_consistency


def frames(count=13, seed=0):
    """Independent noise, uint8 (T, 32, 48, 3)."""
    return np.random.default_rng(seed).integers(60, 180, (count, 32, 48, 3)).astype(np.uint8)


def value(metric, prediction, gt=None, lq=None):
    metric.start(Clip("clip", len(prediction), *prediction.shape[1:3]))
    for number, frame in enumerate(prediction):
        metric.add(frame, None if gt is None else gt[number], None if lq is None else lq[number])
    return metric.result()


def test_boundary_jump_is_the_ratio_of_steps_into_frames_1_5_9_to_all_others():
    levels = np.cumsum([0, 6, 2, 2, 2, 6, 2, 2, 2, 6])  # +6 into frames 1, 5 and 9
    clip = np.broadcast_to(levels[:, None, None, None], (10, 4, 4, 3)).astype(np.uint8)
    assert value(BoundaryJump(), clip) == pytest.approx(3)
    assert value(BoundaryJump(), clip[1:]) < 1  # the same steps elsewhere
    late = BoundaryJump()
    late.start(Clip("clip", 9, 4, 4, first=1))
    for frame in clip[1:]:
        late.add(frame)
    assert late.result() == pytest.approx(3)


def test_even_motion_has_no_boundary_jump_and_falling_levels_count_as_rising_ones():
    levels = np.arange(9) * 3
    for steps in (levels, levels[::-1]):
        clip = np.broadcast_to(steps[:, None, None, None], (9, 4, 4, 3)).astype(np.uint8)
        assert value(BoundaryJump(), clip) == pytest.approx(1)


def test_boundary_jump_of_stills_and_of_two_frames_is_undefined_and_of_held_latents_infinite():
    assert value(BoundaryJump(), np.repeat(frames(1), 9, axis=0)) is None
    assert value(BoundaryJump(), frames(2)) is None
    held = np.repeat(frames(4), [1, 4, 4, 4], axis=0)
    assert value(BoundaryJump(), held) == math.inf


def test_colour_drift_is_the_distance_of_mean_colours_to_gt_else_to_lq():
    gt, lq = frames(), frames(seed=1)[:, ::4, ::4]
    shifted = gt + np.array([3, 0, 4], np.uint8)
    assert value(color_drift(), shifted, gt, lq) == pytest.approx(5)
    expected = np.mean([np.linalg.norm(a.mean((0, 1)) - b.mean((0, 1))) for a, b in zip(shifted, lq, strict=True)])
    assert value(color_drift(), shifted, None, lq) == pytest.approx(expected)
    assert value(color_drift(), shifted) is None


def test_lq_consistency_is_infinite_for_repeated_pixels_and_known_for_a_shift():
    lq = frames()
    enlarged = lq.repeat(4, axis=1).repeat(4, axis=2)
    assert value(lq_consistency(Settings()), enlarged, lq=lq) == math.inf
    assert value(lq_consistency(Settings()), enlarged + 2, lq=lq) == pytest.approx(20 * math.log10(255 / 2))


def test_lq_consistency_falls_with_invented_detail_that_survives_the_reduction():
    lq = frames()
    true = np.stack([cv2.resize(frame, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC) for frame in lq])
    moved = np.roll(true, 2, axis=2)
    values = [value(lq_consistency(Settings()), clip, lq=lq) for clip in (true, moved)]
    assert values[1] < values[0] - 3
    assert value(lq_consistency(Settings()), lq[:, ::2, ::2], lq=lq) is None  # smaller than its LQ


def test_the_profile_shows_the_middle_row_of_every_frame():
    clip, profile = frames(), TemporalProfile()
    for frame in clip:
        profile.add(frame)
    assert np.array_equal(profile.picture(), clip[:, 16])


def test_a_metric_forgets_the_clip_before():
    for metric in (BoundaryJump(), color_drift()):
        alone = value(metric, frames(seed=2), frames(seed=3))
        value(metric, frames(), frames(seed=1))
        assert value(metric, frames(seed=2), frames(seed=3)) == alone
