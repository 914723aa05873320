"""What a stage makes of a few fixed clips: scores, and a picture with LQ, result and HQ side by side."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from seedvr2.evaluation.metric import make_metrics, score

METRICS = ("psnr", "psnr_y", "ssim", "ssim_y")


@torch.no_grad()
def validate(
    objective, feed, autocast: Callable[[], AbstractContextManager]
) -> tuple[dict[str, Tensor | float], np.ndarray]:
    """Restore the feed's fixed clips with averaged weights; autocast: context of the networks' passes.

    Returns means over the clips, `validation/<metric>` for METRICS (see `evaluation.metric`), and what else the
    objective tells, and the picture of `sheet`. On several ranks each does the same.
    """
    batch, clips = feed.preview()
    with objective.averaged(), autocast():
        made = objective.preview(batch)
        more = objective.validate(batch, made) if hasattr(objective, "validate") else {}
        results = [result.float().cpu() for result in feed.frames(made)]
    metrics, _ = make_metrics(METRICS)
    scores = [score(metrics, as_bytes(result), as_bytes(hq)) for result, (hq, _) in zip(results, clips, strict=True)]
    means = {name: float(np.mean([each[name] for each in scores])) for name in METRICS}
    rows = [[lq, result, hq] for result, (hq, lq) in zip(results, clips, strict=True)]
    return {f"validation/{name}": value for name, value in {**means, **more}.items()}, sheet(rows)


def as_bytes(clip: Tensor) -> np.ndarray:
    """A clip (T, 3, H, W) in [-1, 1], clamped, as uint8 (T, H, W, 3)."""
    return clip.clamp(-1, 1).add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def sheet(rows: list[list[Tensor]]) -> np.ndarray:
    """A picture, uint8 (H, W, 3), with one row per sample; each entry is a clip (T, 3, H, W) in [-1, 1], shown by its
    middle frame.
    """
    pictures = [np.concatenate([as_bytes(clip[len(clip) // 2][None])[0] for clip in row], axis=1) for row in rows]
    width = max(picture.shape[1] for picture in pictures)
    return np.concatenate([np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0))) for picture in pictures])
