"""Properties of what operations share: eight bits, drawn seeds, and which kind of clip an operation gets."""

import numpy as np
import pytest
import torch

from seedvr2.data.degradation.draw import Draw, apply, odds_of, span_of, steps_of, to_bytes, to_floats
from seedvr2.data.degradation.pipeline import Degradation
from seedvr2.errors import UserError


@pytest.mark.parametrize("shape", [(1, 1), (4, 1), (1, 4), (1, 1, 3), (5, 1, 1), (4, 3), (5, 7, 3), (2, 5, 7, 3)])
def test_eight_bits_are_clipped_and_rounded_whatever_the_shape(shape):
    values = np.random.default_rng(0).uniform(-0.5, 1.5, shape).astype(np.float32)
    before = values.copy()
    expected = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    assert to_bytes(values).dtype == np.uint8
    assert np.array_equal(to_bytes(values), expected)
    assert np.array_equal(to_bytes(np.moveaxis(values, 0, -1)), np.moveaxis(expected, 0, -1))
    assert np.array_equal(to_bytes(torch.from_numpy(values)).numpy(), expected)
    assert np.array_equal(values, before)


def test_eight_bits_survive_the_way_to_floats_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(to_bytes(to_floats(levels)), levels)
    assert np.array_equal(to_floats(torch.from_numpy(levels)).numpy(), to_floats(levels))


def test_a_seed_is_one_draw():
    first, second = (Draw(np.random.default_rng(7), (1, 1)) for _ in range(2))
    assert first.seed() == second.seed() != second.seed()
    assert 0 <= first.seed() < 2**63


def test_operations_get_tensors_only_if_they_take_them():
    seen = []

    def plain(clip, draw):
        seen.append(type(clip))
        return clip * 2

    def able(clip, draw):
        return plain(clip, draw)

    able.takes_tensors = True
    draw, array = Draw(np.random.default_rng(0), (1, 1)), np.ones((1, 2, 2, 3), np.float32)
    for operation, given in ((plain, array), (able, array), (plain, torch.from_numpy(array)), (able, torch.ones(1))):
        result = apply(operation, given, draw)
        assert type(result) is type(given)
        assert result.max() == 2
    assert seen == [np.ndarray, np.ndarray, np.ndarray, torch.Tensor]


@pytest.mark.parametrize("values", ["high", 3, [1], [2, 1], [0, 1, 2], ["a", "b"], None, [0, float("nan")], "12"])
def test_what_is_no_range_is_named(values):
    with pytest.raises(UserError, match="quality is "):
        span_of("quality", values)


@pytest.mark.parametrize("odds", [["gaussian"], 3, {"gaussian": "often"}, {"gaussian": -1}, {"gauss": 1}, {}])
def test_what_are_no_odds_is_named(odds):
    with pytest.raises(UserError, match="kinds "):
        odds_of("kinds", odds, ("gaussian",))


@pytest.mark.parametrize("drift", [["sigma"], 3, {"sigma": "much"}, {"sigma": -1}, {"sgma": 1}])
def test_what_is_no_drift_is_named(drift):
    with pytest.raises(UserError, match="drift "):
        steps_of(drift, ("sigma",))


@pytest.mark.parametrize(("settings", "match"), [({"ops": 3}, "ops is 3"), ({"ops": [], "target_scale": 0}, "is 0")])
def test_what_is_no_degradation_is_named(settings, match):
    with pytest.raises(UserError, match=match):
        Degradation(**settings)
