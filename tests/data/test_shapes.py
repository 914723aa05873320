"""Buckets hold about their budget, their aspect and their area; which one a step takes is tested with pairs."""

import numpy as np
import pytest

from seedvr2.data.shapes import ASPECTS, Buckets, Length, nearest_ratio
from seedvr2.errors import UserError

LENGTHS = [Length(1, 0.25), Length(49, 0.75, from_step=100)]


def test_buckets_have_the_area_the_aspect_and_sides_of_whole_tokens():
    for shape in Buckets(LENGTHS, tokens=10**6).shapes():
        assert shape.height % 16 == shape.width % 16 == 0
        assert shape.height * shape.width == pytest.approx(1280 * 720, rel=0.04)
    found = {(shape.height, shape.width) for shape in Buckets(LENGTHS, tokens=10**6).shapes()}
    assert {(720, 1280), (1280, 720), (960, 960)} <= found
    assert len(found) == len(ASPECTS)


def test_batches_use_up_the_budget_in_multiples():
    budget = 3_400_000
    for shape in Buckets(LENGTHS, tokens=budget, multiple=36).shapes():
        each = ((shape.frames - 1) // 4 + 1) * shape.height * shape.width // 256
        assert shape.batch % 36 == 0
        assert budget - 36 * each < shape.batch * each <= budget


def test_lengths_keep_their_shares_and_steps_whatever_the_aspects_are():
    def shares(frames: int) -> dict[str, float]:
        return {"16:9": 0.9, "1:1": 0.1, "9:16": 0.0} if frames == 1 else {"16:9": 1.0}

    shapes = Buckets(LENGTHS, tokens=10**6).shapes(shares)
    assert [(shape.frames, shape.height, shape.width) for shape in shapes] == [
        (1, 720, 1280),
        (1, 960, 960),
        (49, 720, 1280),
    ]
    assert [shape.share for shape in shapes] == pytest.approx([0.225, 0.025, 0.75])
    assert [shape.from_step for shape in shapes] == [0, 0, 100]


def test_a_length_that_no_clip_has_is_left_out_with_a_warning(caplog):
    shapes = Buckets(LENGTHS, tokens=10**6).shapes(lambda frames: {"16:9": float(frames == 1)})
    assert [shape.frames for shape in shapes] == [1]
    assert "49 frames" in caplog.text


def test_pictures_go_to_the_nearest_ratio():
    sizes = [(720, 1280), (960, 960), (1280, 720)]
    heights, widths = np.array([1080, 2160, 1000, 1920, 700]), np.array([1920, 5000, 1000, 1080, 720])
    assert nearest_ratio(heights, widths, sizes).tolist() == [0, 0, 1, 2, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens": 3599}, "3599"),
        ({"tokens": 10**6, "multiple": 36}, "tokens is 1000000"),
        ({"tokens": 10**6, "aspects": ["wide"]}, "'wide'"),
        ({"tokens": 10**6, "aspects": ["0:9"]}, "'0:9'"),
        ({"tokens": 10**6, "aspects": []}, "aspects"),
        ({"tokens": 10**6, "area": 0}, "area"),
    ],
)
def test_budgets_and_aspects_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Buckets(LENGTHS, **settings).shapes()
