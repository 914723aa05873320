"""Stages: what a chain of distillations is made of."""

import functools

import pytest

from seedvr2.errors import UserError
from seedvr2.training.stage import distillation_chain, single


def objective(**settings):
    return settings


def chain(**changes):
    settings = {
        "name": "distill",
        "objective": objective,
        "feed": dict,
        "from_steps": 64,
        "to_steps": 1,
        "iterations": 7,
        "guidance": 7.5,
    }
    return distillation_chain(**{**settings, **changes})


def test_a_chain_halves_down_and_is_guided_in_its_first_stage_only():
    stages = chain()
    assert [stage.name for stage in stages] == [f"distill_{n}to{n // 2}" for n in (64, 32, 16, 8, 4, 2)]
    settings = [stage.objective() for stage in stages]
    assert [s["guidance"] for s in settings] == [7.5, 1, 1, 1, 1, 1]
    assert [s["steps"] for s in settings] == [64, 32, 16, 8, 4, 2]
    assert {s["stride"] for s in settings} == {2}
    assert {stage.iterations for stage in stages} == {7}


def test_every_stage_of_a_chain_can_have_its_own_length():
    assert [stage.iterations for stage in chain(iterations=[1, 2, 3], stride=4)] == [1, 2, 3]
    with pytest.raises(UserError, match="lists 2 iteration counts for 3"):
        chain(iterations=[1, 2], stride=4)


def test_chains_that_do_not_end_name_the_stage():
    with pytest.raises(UserError, match="'distill': 64 steps"):
        chain(to_steps=3)


@pytest.mark.parametrize(
    "change",
    [
        {"iterations": 0},
        {"iterations": 1e5},
        {"iterations": "many"},
        {"iterations": 5, "accumulate": 0},
        {"iterations": 5, "save_every": -1},
    ],
)
def test_lengths_that_are_no_counts_are_refused(change):
    with pytest.raises(UserError, match="'base'"):
        single(**{"name": "base", "objective": objective, "feed": dict, **change})


def test_a_teacher_of_another_size_serves_the_first_division_only():
    chain = distillation_chain(
        name="d", objective=dict, feed=dict, from_steps=4, to_steps=1, iterations=1, teacher=list, teacher_weights="big"
    )
    first, second = (stage.objective() for stage in chain)
    assert (first["teacher"], first["teacher_weights"]) == (list, "big")
    assert first["student_weights"] == "generator"
    assert not {"teacher", "teacher_weights", "student_weights"} & second.keys()


@pytest.mark.parametrize("name", ["teacher_weights", "student_weights"])
def test_no_division_but_the_first_starts_from_given_weights(name):
    given = chain(**{name: "base/generator"})
    assert [stage.objective().get(name) for stage in given] == ["base/generator", *[None] * 5]
    with pytest.raises(UserError, match=f"names {name} in its objective"):
        chain(objective=functools.partial(objective, **{name: "base/generator"}))
