"""PSNR and SSIM (Wang et al. 2004) of single frames, in double precision, without border crop.

Luma is compared as the usual programs do: PSNR without rounding it (BasicSR, pyiqa), SSIM after rounding it to whole
numbers (MATLAB, pyiqa). Rounding moves SSIM by up to 0.001 in flat areas.
"""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seedvr2.evaluation.contract import Facts, FrameMean, Settings, versions
from seedvr2.evaluation.luma import luma

WINDOW = 11
SIGMA = 1.5
_STRETCH = 64  # outputs per product with a matrix

_LUMA = "BT.601 luma in [16, 235] (MATLAB's rgb2ycbcr)"


def psnr(settings: Settings, *, of_luma: bool = False) -> FrameMean:
    """PSNR in dB over RGB or luma; equal frames have math.inf, and so has a clip with one such frame."""

    def measure(prediction: np.ndarray, gt: np.ndarray, _lq: np.ndarray | None) -> float:
        a, b = (_planes(frame, of_luma, settings.device) for frame in (prediction, gt))
        error = float((a - b).square().mean())
        return math.inf if error == 0 else 10 * math.log10(255**2 / error)

    colours = f"{_LUMA}, not rounded," if of_luma else "RGB"
    definition = f"PSNR over {colours} of 8-bit frames, peak 255, no border crop, mean over frames."
    return FrameMean(Facts("psnr_y" if of_luma else "psnr", "higher", "gt", definition, versions("torch")), measure)


def ssim(settings: Settings, *, of_luma: bool = False) -> FrameMean:
    """SSIM over luma, or the mean of R, G and B; undefined for frames smaller than the window."""

    def measure(prediction: np.ndarray, gt: np.ndarray, _lq: np.ndarray | None) -> float | None:
        if min(prediction.shape[:2]) < WINDOW:
            return None
        a, b = (_planes(frame, of_luma, settings.device) for frame in (prediction, gt))
        return float(_similarity(a.round(), b.round()).mean())

    colours = f"{_LUMA}, rounded" if of_luma else "R, G and B, averaged"
    definition = (
        f"SSIM over {colours}, of 8-bit frames: Gaussian window {WINDOW}x{WINDOW}, sigma {SIGMA}, only where it lies "
        "inside, range 255, no downscaling, no border crop, mean over frames."
    )
    return FrameMean(Facts("ssim_y" if of_luma else "ssim", "higher", "gt", definition, versions("torch")), measure)


def _planes(frame: np.ndarray, of_luma: bool, device: str) -> Tensor:
    """float64 (1 or 3, H, W) in [0, 255]."""
    picture = torch.from_numpy(np.ascontiguousarray(frame)).to(device)
    return luma(picture)[None] if of_luma else picture.permute(2, 0, 1).double()


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    """SSIM at every place of the window; a, b: (C, H, W) -> (C, H - 10, W - 10)."""
    mean_a, mean_b, both_a, both_b, mixed = (_smooth(plane) for plane in (a, b, a * a, b * b, a * b))
    square_a, square_b, product = mean_a * mean_a, mean_b * mean_b, mean_a * mean_b
    variances = both_a - square_a + both_b - square_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * product + c1) * (2 * (mixed - product) + c2)
    return above / ((square_a + square_b + c1) * (variances + c2))


def _smooth(planes: Tensor) -> Tensor:
    """Gaussian means within the window: (C, H, W) -> (C, H - 10, W - 10)."""
    return _smooth_rows(_smooth_rows(planes).transpose(1, 2)).transpose(1, 2)


def _smooth_rows(planes: Tensor) -> Tensor:
    """The same along the last axis. Stretches of it are multiplied by a matrix, much faster than a convolution here."""
    count = planes.shape[-1] - WINDOW + 1
    stretches = -(-count // _STRETCH)
    padded = F.pad(planes, (0, stretches * _STRETCH - count))
    parts = padded.unfold(-1, _STRETCH + WINDOW - 1, _STRETCH)
    return (parts @ _means(planes.device).T).flatten(-2)[..., :count]


@lru_cache
def _means(device: torch.device) -> Tensor:
    """Matrix (64, 74), float64, that takes a stretch of a line to its Gaussian means."""
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    kernel = torch.exp(-offsets.square() / (2 * SIGMA**2))
    matrix = torch.zeros(_STRETCH, _STRETCH + WINDOW - 1, dtype=torch.float64)
    for place, weight in enumerate(kernel / kernel.sum()):
        matrix.diagonal(place).fill_(float(weight))
    return matrix.to(device)
