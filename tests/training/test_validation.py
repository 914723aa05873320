"""Validation: fixed clips, restored with averaged weights, scored and drawn side by side."""

import contextlib

import numpy as np
import pytest
import torch

from seedvr2.evaluation.metric import make_metrics, score
from seedvr2.training.validation import METRICS, as_bytes, sheet, validate

HQ = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
LQ = HQ * 0.5


class Feed:
    """One clip."""

    def preview(self):
        return "batch", [(HQ, LQ)]

    def frames(self, results):
        return results


class Objective:
    """Restores well, but only while averaged weights are in place."""

    def __init__(self):
        self.shift = 0.5

    @contextlib.contextmanager
    def averaged(self):
        self.shift = 0.1
        yield
        self.shift = 0.5

    def preview(self, batch):
        assert not torch.is_grad_enabled()
        return [HQ + self.shift]


class Judged(Objective):
    """Has something to add."""

    def validate(self, batch, made):
        return {"margin": torch.tensor(self.shift) + len(made)}


def test_scores_are_those_of_evaluation_with_averaged_weights():
    scores, picture = validate(Objective(), Feed(), contextlib.nullcontext)
    expected = score(make_metrics(METRICS)[0], as_bytes(HQ + 0.1), as_bytes(HQ))
    assert set(expected) == {"psnr", "psnr_y", "ssim", "ssim_y"}
    assert scores == pytest.approx({f"validation/{name}": value for name, value in expected.items()})
    assert picture.shape == (16, 48, 3)


def test_an_objective_may_add_what_it_sees_in_the_same_results():
    scores, _ = validate(Judged(), Feed(), contextlib.nullcontext)
    assert float(scores["validation/margin"]) == pytest.approx(1.1)


def test_a_sheet_shows_middle_frames_side_by_side_and_fills_up_narrow_rows():
    frames = torch.stack([torch.full((3, 4, 6), level) for level in (-1.0, 0.0, 1.0)])
    picture = sheet([[frames, frames], [frames[2:]]])
    assert picture.shape == (8, 12, 3)
    assert picture.dtype == np.uint8
    parts = picture[:4], picture[4:, :6], picture[4:, 6:]
    assert [np.unique(part).tolist() for part in parts] == [[128], [255], [0]]


def test_values_out_of_range_are_clamped():
    assert as_bytes(torch.tensor([-3.0, -1.0, 1.0, 2.0]).view(1, 1, 2, 2)).flatten().tolist() == [0, 0, 255, 255]
