"""Shapes of the learning-rate schedules."""

import itertools

import pytest

from seedvr2.optim.schedule import constant, cosine, linear


@pytest.mark.parametrize("schedule", [constant, linear, cosine])
def test_warmup_rises_in_equal_steps_to_one(schedule):
    values = [schedule(step, 100, warmup=5) for step in range(6)]
    assert values[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert values[5] == pytest.approx(1.0)


def test_constant_stays_at_one():
    assert {constant(step, 10) for step in range(20)} == {1.0}


def test_linear_falls_by_equal_steps_to_its_end():
    values = [linear(step, 10, final=0.2) for step in range(11)]
    assert values[0] == 1.0
    assert values[10] == pytest.approx(0.2)
    assert [a - b for a, b in itertools.pairwise(values)] == pytest.approx([0.08] * 10)


def test_cosine_falls_slowly_at_both_ends():
    values = [cosine(step, 100, final=0.1) for step in range(101)]
    assert values[0] == 1.0
    assert values[50] == pytest.approx(0.55)
    assert values[100] == pytest.approx(0.1)
    falls = [a - b for a, b in itertools.pairwise(values)]
    assert min(falls) >= 0
    assert max(falls[0], falls[-1]) < 0.1 * falls[50]


@pytest.mark.parametrize("schedule", [linear, cosine])
def test_schedules_stay_at_their_end_afterwards(schedule):
    assert schedule(50, 10, final=0.3) == pytest.approx(0.3)
