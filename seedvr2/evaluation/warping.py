"""The warping error E*_warp: how much a pixel changes along its path from frame to frame (Lai et al. 2018)."""

import cv2
import numpy as np

from seedvr2.evaluation.contract import DEFAULT, Clip, Facts, Settings, versions
from seedvr2.evaluation.optical_flow import make_flow

SCALE = 1000  # the paper's tables show E_warp x 10^3

_SOURCES = {
    "gt": "the ground truth (of the prediction where a clip has none)",
    "output": "the prediction",
    "lq": "the LQ, enlarged by bicubic interpolation",
}


class WarpError:
    """E_warp x 10^3 of a clip; undefined for a single frame. Holds two frames.

    For each pair of frames, frame t + 1 is fetched back along the flow from t to t + 1 and compared with frame t where
    nothing is covered or uncovered: the squared difference, of RGB in [0, 1], averaged over pixels and channels.
    """

    def __init__(self, settings: Settings = DEFAULT):
        self._flow, name, version, weights = make_flow(settings)
        self._flow_on = settings.flow_on
        self._errors: list[float] = []
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        definition = (
            "E_warp x 10^3 (Lai et al. 2018) over RGB in [0, 1], mean over pixels, channels and pairs of frames. Flow "
            f"of {_SOURCES[settings.flow_on]} by {name}; left out: pixels that fail the forward-backward check, lie on "
            "motion boundaries or leave the frame."
        )
        needs = "lq" if settings.flow_on == "lq" else ""
        self.facts = Facts("warp_error", "lower", needs, definition, f"{version}, {versions('numpy')}", weights)

    def start(self, clip: Clip) -> None:
        self._errors, self._before = [], None

    def add(self, prediction: np.ndarray, gt: np.ndarray | None = None, lq: np.ndarray | None = None) -> None:
        guide = self._guide(prediction, gt, lq)
        if self._before is not None:
            earlier, earlier_guide = self._before
            error = warp_error(earlier, prediction, self._flow(earlier_guide, guide), self._flow(guide, earlier_guide))
            if error is not None:
                self._errors.append(error)
        self._before = prediction.copy(), guide.copy()

    def result(self) -> float | None:
        return SCALE * float(np.mean(self._errors)) if self._errors else None

    def _guide(self, prediction: np.ndarray, gt: np.ndarray | None, lq: np.ndarray | None) -> np.ndarray:
        """The frame whose motion counts, uint8 of the prediction's size."""
        if self._flow_on == "lq":
            assert lq is not None, "flow of the LQ needs the LQ"
            return cv2.resize(lq, prediction.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        return gt if self._flow_on == "gt" and gt is not None else prediction


def warp_error(first: np.ndarray, second: np.ndarray, forward: np.ndarray, backward: np.ndarray) -> float | None:
    """Mean squared difference of uint8 frames (H, W, 3), in [0, 1], along the flow; None if no pixel is left.

    forward, backward: flow (H, W, 2) from first to second and back.
    """
    seen = visible(forward, backward)
    if not seen.any():
        return None
    difference = (fetch(second.astype(np.float32), forward) - first) / 255
    return float(np.square(difference[seen], dtype=np.float64).mean())


def visible(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Pixels of the first frame, bool (H, W), that can be followed into the second.

    Occluded (Sundaram et al. 2010): |F + B|^2 > 0.01 (|F|^2 + |B|^2) + 0.5 with B the backward flow where F leads to.
    On a motion boundary: |grad u|^2 + |grad v|^2 > 0.01 |F|^2 + 0.002. Left the frame: F leads out of it.
    """
    height, width = forward.shape[:2]
    back = fetch(backward, forward)
    length = np.square(forward).sum(-1)
    occluded = np.square(forward + back).sum(-1) > 0.01 * (length + np.square(back).sum(-1)) + 0.5
    across, down = np.zeros_like(forward), np.zeros_like(forward)
    across[:, :-1], down[:-1] = np.diff(forward, axis=1), np.diff(forward, axis=0)
    at_edge = (np.square(across) + np.square(down)).sum(-1) > 0.01 * length + 0.002
    x, y = (targets(forward)[..., axis] for axis in (0, 1))
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    return inside & ~occluded & ~at_edge


def fetch(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A float32 picture (H, W, C) of the second frame, moved to the pixels of the first; bilinear, edges repeated."""
    return cv2.remap(picture, targets(flow), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def targets(flow: np.ndarray) -> np.ndarray:
    """Positions (H, W, 2), x and y in pixels, that a flow leads to."""
    rows, columns = np.indices(flow.shape[:2], dtype=np.float32)
    return flow + np.stack([columns, rows], axis=-1)
