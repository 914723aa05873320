"""PSNR and SSIM agree with their definitions and with independent libraries."""

import math

import cv2
import numpy as np
import pytest
import torch

from seedvr2.evaluation.contract import Clip, Settings
from seedvr2.evaluation.fidelity import psnr, ssim
from seedvr2.evaluation.luma import luma

KINDS = {(psnr, False): "psnr", (psnr, True): "psnr_y", (ssim, False): "ssim", (ssim, True): "ssim_y"}


def picture(seed=0):
    """Detail at several scales, uint8 (96, 128, 3)."""
    noise = np.random.default_rng(seed).normal(0, 1, (3, 96, 128, 3))
    layers = [cv2.GaussianBlur(layer, None, sigma) * sigma for layer, sigma in zip(noise, (1, 4, 12), strict=True)]
    mixed = sum(layers)
    return np.clip(128 + 40 * mixed / mixed.std(), 0, 255).round().astype(np.uint8)


def degraded(frame):
    blurred = cv2.GaussianBlur(frame, None, 1.3).astype(float)
    return np.clip(blurred + np.random.default_rng(1).normal(0, 6, frame.shape), 0, 255).round().astype(np.uint8)


def value(make, a, b, *, of_luma=False):
    metric = make(Settings(), of_luma=of_luma)
    metric.start(Clip("clip", 1, *a.shape[:2]))
    metric.add(a, b, None)
    return metric.result()


def test_psnr_of_a_known_error():
    low = np.clip(picture(), 0, 250)
    assert value(psnr, low + 5, low) == pytest.approx(20 * math.log10(255 / 5))


def test_luma_of_white_black_and_green_follows_bt601_without_rounding():
    colours = torch.tensor([[[255, 255, 255], [0, 0, 0], [0, 255, 0]]], dtype=torch.uint8)
    assert luma(colours).flatten().tolist() == pytest.approx([235, 16, 144.553])


def test_luma_psnr_is_higher_by_the_studio_range_for_a_grey_shift():
    low = np.clip(picture(), 0, 235)
    expected = 20 * math.log10(255 / 20) - 20 * math.log10(219 / 255)
    assert value(psnr, low + 20, low, of_luma=True) == pytest.approx(expected)


@pytest.mark.parametrize("of_luma", [False, True])
def test_ssim_equals_its_definition_in_one_window(of_luma):
    a, b = picture()[:11, :11], np.roll(picture(), 1, axis=1)[:11, :11]
    window = np.outer(*(cv2.getGaussianKernel(11, 1.5)[:, 0],) * 2)
    expected = []
    for plane in range(1 if of_luma else 3):
        x, y = (
            luma(torch.from_numpy(f.copy())).round().numpy() if of_luma else f[..., plane].astype(float) for f in (a, b)
        )
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy, cov = (window * x * x).sum() - mx**2, (window * y * y).sum() - my**2, (window * x * y).sum() - mx * my
        c1, c2 = 6.5025, 58.5225
        expected.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert value(ssim, a, b, of_luma=of_luma) == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(("make", "of_luma"), KINDS)
def test_equal_frames_are_perfect_and_names_tell_luma(make, of_luma):
    expected = math.inf if make is psnr else pytest.approx(1)
    assert value(make, picture(), picture(), of_luma=of_luma) == expected
    assert make(Settings(), of_luma=of_luma).facts.name == KINDS[make, of_luma]
    assert ("BT.601" in make(Settings(), of_luma=of_luma).facts.definition) == of_luma


def test_ssim_is_undefined_where_the_window_does_not_fit():
    small = picture()[:10]
    assert value(ssim, small, small) is None


def test_colour_errors_count_in_rgb_more_than_in_luma():
    frame = picture()
    tinted = frame.copy()
    tinted[..., 2] = np.roll(tinted[..., 2], 3, axis=0)
    assert value(ssim, tinted, frame) < value(ssim, tinted, frame, of_luma=True) - 0.05


def test_values_agree_with_scikit_image():
    skimage = pytest.importorskip("skimage.metrics")
    frame, bad = picture(), degraded(picture())
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    assert value(ssim, bad, frame) == pytest.approx(
        skimage.structural_similarity(frame, bad, channel_axis=2, **settings), abs=1e-9
    )
    y, bad_y = (luma(torch.from_numpy(each)).round().numpy() for each in (frame, bad))
    assert value(ssim, bad, frame, of_luma=True) == pytest.approx(
        skimage.structural_similarity(y, bad_y, **settings), abs=1e-9
    )
    assert value(psnr, bad, frame) == pytest.approx(skimage.peak_signal_noise_ratio(frame, bad, data_range=255))


def test_values_agree_with_pyiqa():
    pyiqa = pytest.importorskip("pyiqa")
    frame, bad = picture(), degraded(picture())
    unit = [torch.from_numpy(each).permute(2, 0, 1)[None] / 255 for each in (bad, frame)]
    luma_options = {"test_y_channel": True, "color_space": "ycbcr"}
    theirs = {
        (psnr, False): pyiqa.create_metric("psnr", device="cpu"),
        (psnr, True): pyiqa.create_metric("psnr", device="cpu", **luma_options),
        (ssim, False): pyiqa.create_metric("ssimc", device="cpu"),
        (ssim, True): pyiqa.create_metric("ssim", device="cpu", **luma_options),
    }
    for (make, of_luma), other in theirs.items():
        assert value(make, bad, frame, of_luma=of_luma) == pytest.approx(float(other(*unit)), abs=1e-3)
