"""Metrics agree with their definitions and order qualities rightly."""

import cv2
import numpy as np
import pytest

from seedvr2.evaluation.metrics import METRICS, luma, psnr, psnr_y, score, ssim
from seedvr2.evaluation.vmaf import vmaf


@pytest.fixture(scope="module")
def picture():
    """A smooth random picture with detail."""
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.float32)
    return cv2.GaussianBlur(noise, None, 1.2).clip(0, 255).astype(np.uint8)


def test_psnr_of_a_known_error(picture):
    shifted = np.clip(picture.astype(int), 0, 250).astype(np.uint8)
    assert psnr(shifted + 5, shifted) == pytest.approx(20 * np.log10(255 / 5))


def test_luma_of_white_black_and_green_follows_bt601():
    colours = np.array([[[255, 255, 255], [0, 0, 0], [0, 255, 0]]], dtype=np.uint8)
    assert luma(colours).tolist() == [[235, 16, 145]]


def test_luma_psnr_is_higher_where_the_error_is_scaled_to_studio_range(picture):
    brighter = np.clip(picture, 0, 230)
    assert psnr_y(brighter + 20, brighter) > psnr(brighter + 20, brighter)


def test_ssim_equals_its_definition_in_one_window(picture):
    a, b = picture[:11, :11], np.roll(picture, 1, axis=1)[:11, :11]
    window = np.outer(*(cv2.getGaussianKernel(11, 1.5)[:, 0],) * 2)
    x, y = luma(a), luma(b)
    mx, my = (window * x).sum(), (window * y).sum()
    vx, vy, cov = (window * x * x).sum() - mx**2, (window * y * y).sum() - my**2, (window * x * y).sum() - mx * my
    c1, c2 = 6.5025, 58.5225
    expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(a, b) == pytest.approx(expected)


def test_equal_clips_are_perfect_and_blur_lowers_every_score(picture):
    clip = np.stack([picture] * 3)
    perfect = score(clip, clip)
    assert perfect == {"psnr": 100.0, "psnr_y": 100.0, "ssim": pytest.approx(1.0)}
    blurred = np.stack([cv2.GaussianBlur(picture, None, 1.0)] * 3)
    assert all(score(blurred, clip)[name] < perfect[name] for name in METRICS)


def test_vmaf_is_near_100_for_equal_clips_and_falls_with_blur(picture):
    clip = np.stack([picture] * 3)
    blurred = np.stack([cv2.GaussianBlur(picture, None, 1.5)] * 3)
    assert vmaf(clip, clip) > 95
    assert vmaf(blurred, clip) < 80
