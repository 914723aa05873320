"""Fine detail: its amount is a ratio of energies, its kind a distance that ignores places."""

import cv2
import numpy as np
import pytest
import torch

from seedvr2.evaluation.luma import luma
from seedvr2.evaluation.metric import make_metrics, score
from seedvr2.evaluation.texture import PATCH, STRIDE, filters


@pytest.fixture(scope="module")
def clip():
    """Texture of several scales in motion, uint8 (4, 64, 80, 3)."""
    drawn = np.random.default_rng(0).normal(0, 1, (2, 80, 96, 3))
    wide = 120 + 18 * drawn[0] + 150 * cv2.GaussianBlur(drawn[1], None, 3)
    return np.stack([wide[t : t + 64, 2 * t : 2 * t + 80] for t in range(4)]).clip(0, 255).astype(np.uint8)


def scored(prediction, gt):
    return score(make_metrics(["hf", "swd"])[0], prediction, gt)


def blur(clip, sigma):
    return np.stack([cv2.GaussianBlur(frame, None, sigma) for frame in clip])


def noise(clip, level):
    return (clip + np.random.default_rng(1).normal(0, level, clip.shape)).clip(0, 255).astype(np.uint8)


def test_equal_clips_have_all_the_detail_and_no_distance(clip):
    assert scored(clip, clip) == {"hf": 1, "swd": 0}


def test_blur_takes_detail_away_and_more_blur_more(clip):
    little, much = (scored(blur(clip, sigma), clip) for sigma in (0.7, 1.5))
    assert much["hf"] < little["hf"] < 0.8
    assert 0 < little["swd"] < much["swd"]


def test_noise_adds_detail_and_more_noise_more(clip):
    little, much = (scored(noise(clip, level), clip) for level in (8, 20))
    assert 1.05 < little["hf"] < much["hf"]
    assert 0 < little["swd"] < much["swd"]


def test_contrast_scales_the_energy_by_its_square():
    grey = np.random.default_rng(0).integers(-40, 41, (1, 64, 64, 1)).repeat(3, axis=3)
    assert scored((128 + 2 * grey).astype(np.uint8), (128 + grey).astype(np.uint8))["hf"] == pytest.approx(4)


def test_brightness_changes_neither(clip):
    darker = np.clip(clip, 20, 255) - 20
    found = scored(darker.astype(np.uint8), np.clip(clip, 20, 255))
    assert found["hf"] == pytest.approx(1, abs=1e-6)
    assert found["swd"] < 0.1  # rounding into bins


def test_the_order_of_frames_changes_neither(clip):
    harmed = blur(clip, 1)
    assert scored(harmed[::-1], clip) == pytest.approx(scored(harmed, clip))
    assert scored(clip[[2, 0, 3, 1]], clip) == pytest.approx({"hf": 1, "swd": 0})


def test_the_distance_is_that_of_sorted_responses(clip):
    harmed = blur(clip, 1)
    responses = []
    for frames in (harmed, clip):
        planes = torch.stack([luma(torch.from_numpy(frame)) for frame in frames])[:, None].float()
        found = torch.nn.functional.conv2d(planes, filters(), stride=STRIDE)
        responses.append(found.transpose(0, 1).flatten(1).sort(dim=1).values)
    expected = float((responses[0] - responses[1]).abs().mean())
    assert scored(harmed, clip)["swd"] == pytest.approx(expected, abs=0.02)
    assert expected > 1


def test_a_flat_ground_truth_and_frames_below_a_patch_have_no_score(clip):
    assert scored(clip, np.full_like(clip, 90))["hf"] is None
    tiny = clip[:, : PATCH - 1]
    assert scored(tiny, tiny)["swd"] is None
