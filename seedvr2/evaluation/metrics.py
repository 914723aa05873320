"""Full-reference metrics of one frame, on 8-bit RGB without border crop; a clip's score is the mean over its frames.

To add a metric, write a function (frame, reference) -> float and name it in METRICS.
"""

from collections.abc import Callable

import cv2
import numpy as np

_KERNEL = cv2.getGaussianKernel(11, 1.5)
_BORDER = 5  # half of the kernel: SSIM is taken where the window lies inside
_LUMA = np.array([65.481, 128.553, 24.966]) / 255  # BT.601, to [16, 235]


def psnr(frame: np.ndarray, reference: np.ndarray) -> float:
    """PSNR over RGB in dB of uint8 (H, W, 3) frames; equal frames give 100."""
    error = np.mean((frame.astype(np.float64) - reference) ** 2)
    return 100.0 if error == 0 else float(10 * np.log10(255**2 / error))


def psnr_y(frame: np.ndarray, reference: np.ndarray) -> float:
    """PSNR of the BT.601 luma (MATLAB's rgb2ycbcr) in dB of uint8 (H, W, 3) frames; equal frames give 100."""
    error = np.mean((luma(frame) - luma(reference)) ** 2)
    return 100.0 if error == 0 else float(10 * np.log10(255**2 / error))


def ssim(frame: np.ndarray, reference: np.ndarray) -> float:
    """SSIM (Wang et al. 2004) of the BT.601 luma: Gaussian window 11 x 11, sigma 1.5, of uint8 (H, W, 3) frames."""
    a, b = luma(frame), luma(reference)
    mean_a, mean_b = _smooth(a), _smooth(b)
    var_a, var_b = _smooth(a * a) - mean_a**2, _smooth(b * b) - mean_b**2
    covariance = _smooth(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float(np.mean(above / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


def luma(frame: np.ndarray) -> np.ndarray:
    """BT.601 luma in [16, 235] as float64 (H, W) of a uint8 RGB frame, rounded as MATLAB does."""
    return np.round(frame.astype(np.float64) @ _LUMA + 16)


def _smooth(picture: np.ndarray) -> np.ndarray:
    full = cv2.sepFilter2D(picture, cv2.CV_64F, _KERNEL, _KERNEL)
    return full[_BORDER:-_BORDER, _BORDER:-_BORDER]


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"psnr": psnr, "psnr_y": psnr_y, "ssim": ssim}


def score(frames: np.ndarray, references: np.ndarray) -> dict[str, float]:
    """Every metric of uint8 clips (T, H, W, 3), averaged over frames; the shapes must be equal."""
    assert frames.shape == references.shape, f"{frames.shape} against {references.shape}"
    return {
        name: float(np.mean([metric(a, b) for a, b in zip(frames, references, strict=True)]))
        for name, metric in METRICS.items()
    }
