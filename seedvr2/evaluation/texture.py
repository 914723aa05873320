"""How much fine detail an output has, and whether it is of the right kind. Neither needs weights, and neither asks
whether a detail is where it should be: that is what PSNR and SSIM do.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seedvr2.evaluation.contract import DEFAULT, Clip, Facts, Settings, versions
from seedvr2.evaluation.luma import luma
from seedvr2.randomness import torch_generator

SIGMA = 1.5  # pixels: what a Gaussian of this width removes is fine detail
PATCH = 7
FILTERS = 64
STRIDE = 4
_BOUND = 220 * PATCH  # of a filter's response: unit norm, luma spans 219
_BIN = 0.25
_ROUNDING = 1e-6  # energy that a flat frame seems to have


class HighFrequency:
    """Energy of fine detail over that of the ground truth: below 1 blurred, above 1 noisy or oversharpened."""

    facts = Facts(
        "hf",
        "",
        "gt",
        f"Energy of the luma that a Gaussian of sigma {SIGMA} removes, summed over the clip, over that of the ground "
        "truth; 1 is right, below 0.8 blurred, above 1.1 noisy or ringing; undefined for a flat ground truth.",
        versions("numpy", "opencv-python-headless"),
    )

    def __init__(self, _settings: Settings = DEFAULT):
        self._energies = np.zeros(2)

    def start(self, clip: Clip) -> None:
        self._energies = np.zeros(2)

    def add(self, prediction: np.ndarray, gt: np.ndarray | None = None, lq: np.ndarray | None = None) -> None:
        assert gt is not None, "hf needs the ground truth"
        self._energies += [energy(frame) for frame in (prediction, gt)]

    def result(self) -> float | None:
        made, true = self._energies
        return float(made / true) if true > _ROUNDING else None


def energy(frame: np.ndarray) -> float:
    """Energy of the fine detail in the luma of a uint8 RGB frame (H, W, 3)."""
    plane = luma(torch.from_numpy(np.ascontiguousarray(frame))).numpy()
    return float(np.square(plane - cv2.GaussianBlur(plane, (0, 0), SIGMA, borderType=cv2.BORDER_REFLECT)).sum())


class SlicedDistance:
    """Sliced Wasserstein distance between the patches of a clip and of its ground truth, whatever their places are.

    A random direction in the space of mean-free patches is a random filter without constant part; its responses are
    counted in narrow bins, so that a clip of any length takes the same memory.
    """

    facts = Facts(
        "swd",
        "lower",
        "gt",
        f"Sliced 1-Wasserstein distance between all {PATCH}x{PATCH} luma patches (every {STRIDE}th row and column, "
        f"without their mean) of the clip and of the ground truth, in grey levels: mean over {FILTERS} fixed "
        "directions; blind to where patches are, in space and time.",
        versions("torch"),
    )

    def __init__(self, settings: Settings = DEFAULT):
        self._device = settings.device
        self._filters = filters().to(self._device)
        self._counts: list[Tensor] = []

    def start(self, clip: Clip) -> None:
        shape = FILTERS, int(2 * _BOUND / _BIN) + 1
        self._counts = [torch.zeros(shape, dtype=torch.long, device=self._device) for _ in range(2)]

    def add(self, prediction: np.ndarray, gt: np.ndarray | None = None, lq: np.ndarray | None = None) -> None:
        assert gt is not None, "swd needs the ground truth"
        if min(gt.shape[:2]) < PATCH:
            return
        for counts, frame in zip(self._counts, (prediction, gt), strict=True):
            plane = luma(torch.from_numpy(np.ascontiguousarray(frame)).to(self._device)).float()
            found = F.conv2d(plane[None, None], self._filters, stride=STRIDE).flatten(1).reshape(FILTERS, -1)
            places = ((found + _BOUND) / _BIN).round().long()
            counts.scatter_add_(1, places, torch.ones_like(places))

    def result(self) -> float | None:
        if not self._counts or not self._counts[0].any():
            return None
        shares = [counts.double() / counts.sum(1, keepdim=True) for counts in self._counts]
        return float(_BIN * (shares[0] - shares[1]).cumsum(1).abs().sum(1).mean())


def filters() -> Tensor:
    """(FILTERS, 1, PATCH, PATCH): fixed random directions of unit length without constant part."""
    drawn = torch.randn(FILTERS, 1, PATCH, PATCH, generator=torch_generator("sliced distance"))
    drawn -= drawn.mean(dim=(2, 3), keepdim=True)
    return drawn / drawn.flatten(1).norm(dim=1)[:, None, None, None]
