"""How a prediction behaves over time, and how true it stays to its input. None of these needs a network."""

import math

import cv2
import numpy as np

from seedvr2.evaluation.contract import DEFAULT, Clip, Facts, FrameMean, Settings, versions

GROUP = 4  # frames per latent of the causal VAE: frame 0 stands alone, then 1-4, 5-8, …


class TemporalProfile:
    """The middle row of pixels through time (Fig. 6): flicker shows as horizontal steps, jitter as a ragged edge."""

    def __init__(self) -> None:
        self._lines: list[np.ndarray] = []

    def add(self, frame: np.ndarray) -> None:
        """The next frame, uint8 (H, W, 3)."""
        self._lines.append(frame[len(frame) // 2].copy())

    def picture(self) -> np.ndarray:
        """uint8 (T, W, 3): line t is the middle row of frame t."""
        return np.stack(self._lines)


class BoundaryJump:
    """How much more changes where one latent ends and the next begins than between frames of the same latent."""

    facts = Facts(
        "boundary_jump",
        "lower",
        "",
        f"Mean absolute frame-to-frame difference of 8-bit RGB into frames 1, {1 + GROUP}, {1 + 2 * GROUP}, … (first "
        "of a latent group) over that into all others; 1 is seamless, undefined without motion or below 3 frames.",
        versions("numpy"),
    )

    def __init__(self, _settings: Settings = DEFAULT):
        self._changes: list[float] = []
        self._before: np.ndarray | None = None
        self._first = 0

    def start(self, clip: Clip) -> None:
        self._changes, self._before, self._first = [], None, clip.first

    def add(self, prediction: np.ndarray, gt: np.ndarray | None = None, lq: np.ndarray | None = None) -> None:
        if self._before is not None:
            self._changes.append(float(cv2.absdiff(prediction, self._before).mean()))
        self._before = prediction.copy()

    def result(self) -> float | None:
        sides: tuple[list[float], list[float]] = ([], [])
        for place, change in enumerate(self._changes, self._first):
            sides[place % GROUP > 0].append(change)
        across, within = sides
        if not (across and within and any(self._changes)):
            return None
        return float(np.mean(across) / np.mean(within)) if any(within) else math.inf


def color_drift(_settings: Settings = DEFAULT) -> FrameMean:
    """Distance of the mean colour to that of the ground truth, or of the LQ where there is none."""

    def measure(prediction: np.ndarray, gt: np.ndarray | None, lq: np.ndarray | None) -> float | None:
        reference = gt if gt is not None else lq
        if reference is None:
            return None
        return float(np.linalg.norm(prediction.mean((0, 1)) - reference.mean((0, 1))))

    definition = (
        "Euclidean distance of the mean 8-bit RGB of a frame to that of the ground truth (of the LQ without one), in "
        "grey levels, mean over frames."
    )
    return FrameMean(Facts("color_drift", "lower", "", definition, versions("numpy")), measure)


def lq_consistency(_settings: Settings) -> FrameMean:
    """PSNR in dB between the LQ and the prediction reduced to its size; undefined if the prediction is smaller."""

    def measure(prediction: np.ndarray, _gt: np.ndarray | None, lq: np.ndarray | None) -> float | None:
        assert lq is not None, "lq_consistency needs the LQ"
        height, width = lq.shape[:2]
        if height > prediction.shape[0] or width > prediction.shape[1]:
            return None
        reduced = cv2.resize(prediction.astype(np.float64), (width, height), interpolation=cv2.INTER_AREA)
        error = float(np.mean((reduced - lq) ** 2))
        return math.inf if error == 0 else 10 * math.log10(255**2 / error)

    definition = "PSNR over 8-bit RGB of the prediction, reduced by area to the LQ's size, to the LQ, mean over frames."
    return FrameMean(Facts("lq_consistency", "higher", "lq", definition, versions("opencv-python-headless")), measure)
