"""The metrics by name.

To add one, write a class or a function that makes a `FrameMean` in a file of its own, and name it in METRICS.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from seedvr2.errors import UserError
from seedvr2.evaluation import fidelity, perceptual, temporal, texture
from seedvr2.evaluation.contract import DEFAULT, Clip, Facts, FrameMean, Metric, Settings, Unavailable
from seedvr2.evaluation.dover import Dover
from seedvr2.evaluation.vmaf import Vmaf
from seedvr2.evaluation.warping import WarpError

__all__ = ["METRICS", "Clip", "Facts", "FrameMean", "Metric", "Settings", "Unavailable", "make_metrics", "score"]

METRICS: dict[str, Callable[[Settings], Metric]] = {
    "psnr": fidelity.psnr,
    "psnr_y": partial(fidelity.psnr, of_luma=True),
    "ssim": fidelity.ssim,
    "ssim_y": partial(fidelity.ssim, of_luma=True),
    "lpips": perceptual.lpips,
    "dists": perceptual.dists,
    "niqe": perceptual.niqe,
    "musiq": perceptual.musiq,
    "clipiqa": perceptual.clipiqa,
    "dover": Dover,
    "warp_error": WarpError,
    "vmaf": Vmaf,
    "boundary_jump": temporal.BoundaryJump,
    "color_drift": temporal.color_drift,
    "lq_consistency": temporal.lq_consistency,
    "hf": texture.HighFrequency,
    "swd": texture.SlicedDistance,
}


def make_metrics(
    names: Sequence[str],
    settings: Settings = DEFAULT,
) -> tuple[list[Metric], dict[str, str]]:
    """The metrics that can be had here, in the order of names, and for each other one why not.

    Raises UserError for a name that is not in METRICS.
    """
    usable, missing = [], {}
    for name in dict.fromkeys(names):
        if name not in METRICS:
            raise UserError(f"there is no metric {name!r}: choose from {', '.join(METRICS)}")
        try:
            usable.append(METRICS[name](settings))
        except Unavailable as reason:
            missing[name] = str(reason)
    return usable, missing


def score(metrics: Sequence[Metric], prediction: np.ndarray, gt: np.ndarray) -> dict[str, float | None]:
    """Scores by name of a whole clip; prediction and gt: uint8 (T, H, W, 3)."""
    assert prediction.shape == gt.shape, f"{prediction.shape} against {gt.shape}"
    clip = Clip("clip", *prediction.shape[:3])
    for metric in metrics:
        metric.start(clip)
        for frame, reference in zip(prediction, gt, strict=True):
            metric.add(frame, reference, None)
    return {metric.facts.name: metric.result() for metric in metrics}
