"""Window partition: the released order, exact cover, and the plan that attention reads."""

import functools
import itertools
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seedvr2.models.windows import (
    adaptive_window,
    cuts,
    fixed_window,
    literal_window,
    move_plan,
    partition,
    plan_windows,
)

RULES = [
    adaptive_window,
    literal_window,
    fixed_window,
    functools.partial(adaptive_window, area=16),
    functools.partial(fixed_window, extent=(3, 2)),
]
sizes = st.tuples(st.integers(1, 40), st.integers(1, 70), st.integers(1, 70))


def test_windows_equal_the_released_lists_in_order(facts):
    for case in facts("windows")["cases"]:
        size = tuple(case["size"])
        for kind in ("regular", "shifted"):
            windows = partition(size, adaptive_window(size), kind == "shifted")
            assert [[bound for axis in w for bound in (axis.start, axis.stop)] for w in windows] == case[kind], size


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(size=sizes, shifted=st.booleans())
def test_every_token_is_in_exactly_one_window(rule, size, shifted):
    cover = torch.zeros(size, dtype=torch.int32)
    for window in partition(size, rule(size), shifted):
        assert cover[window].numel() > 0
        cover[window] += 1
    assert (cover == 1).all()


@pytest.mark.parametrize(
    ("size", "released", "literal"),
    [
        ((26, 60, 106), (7, 15, 27), (7, 16, 27)),
        ((26, 68, 120), (7, 15, 27), (7, 16, 27)),
        ((26, 48, 84), (7, 15, 27), (7, 16, 27)),
        ((26, 30, 40), (7, 18, 23), (7, 18, 24)),
        ((40, 45, 80), (8, 15, 27), (8, 15, 27)),
    ],
)
def test_released_rule_rounds_the_proxy_grid_and_the_printed_one_does_not(size, released, literal):
    assert adaptive_window(size) == released
    assert literal_window(size) == literal


def test_fixed_rule_keeps_its_extent_at_every_resolution():
    assert {fixed_window((9, h, w)) for h, w in ((10, 10), (45, 80), (135, 240))} == {(3, 32, 32)}


@settings(max_examples=50, deadline=None, derandomize=True)
@given(length=st.integers(1, 50), window=st.integers(1, 60))
def test_no_window_is_longer_than_its_extent_and_a_shift_halves_the_first(length, window):
    for shifted in (False, True):
        assert all(0 < b - a <= window for a, b in itertools.pairwise(cuts(length, window, shifted)))
    if 2 <= window < length:
        assert cuts(length, window, True)[1] == window // 2


def test_shift_does_nothing_on_an_axis_with_windows_of_one_or_one_window():
    for length in range(1, 20):
        assert cuts(length, 1, True) == cuts(length, 1, False)
        assert cuts(length, length + 3, True) == [0, length] == cuts(length, length, True)


def dense_plan(grids, lengths, rule, shifted):
    """Members of every window, straight from the slices: list of (video rows, text rows)."""
    members, video_start, text_start = [], 0, 0
    for size, length in zip(grids, lengths, strict=True):
        count = size[0] * size[1] * size[2]
        numbers = torch.arange(video_start, video_start + count).view(size)
        text = list(range(text_start, text_start + length))
        members += [(numbers[w].flatten().tolist(), text) for w in partition(size, rule(size), shifted)]
        video_start, text_start = video_start + count, text_start + length
    return members


@pytest.mark.parametrize("shifted", [False, True])
def test_plan_packs_every_window_with_the_text_of_its_clip(shifted):
    draw = random.Random(0)
    rule = functools.partial(adaptive_window, area=16)
    for _ in range(10):
        grids = [tuple(draw.randint(1, 6) for _ in range(3)) for _ in range(3)]
        lengths = [draw.randint(1, 4) for _ in grids]
        plan = plan_windows(grids, lengths, rule, shifted)
        packed, start = [], 0
        for count, length in plan.runs:
            for _ in range(count):
                packed.append(plan.order[start : start + length].tolist())
                start += length
        windows = dense_plan(grids, lengths, rule, shifted)
        expected = [video + [plan.video_tokens + t for t in text] for video, text in windows]
        assert start == len(plan.order)
        assert sorted(packed) == sorted(expected)
        assert torch.equal(plan.order[plan.video_rows], torch.arange(plan.video_tokens))
        text_start = plan.video_tokens
        for rows, length in zip(plan.text_rows, lengths, strict=True):
            assert (plan.order[rows] == torch.arange(text_start, text_start + length)).all()
            text_start += length
        assert sum(len(rows) for rows in plan.text_rows) == len(expected)
        runs = [length for _, length in plan.runs]
        assert runs == sorted(set(runs))


def test_positions_restart_in_every_window():
    size, rule = (3, 5, 7), functools.partial(fixed_window, extent=(2, 3), frames=2)
    plan = plan_windows([size], [4], rule, True)
    position = plan.position.view(*size, 3)
    extent = plan.extent.view(*size, 3)
    for window in partition(size, rule(size), True):
        lengths = [axis.stop - axis.start for axis in window]
        places = torch.stack(torch.meshgrid(*map(torch.arange, lengths), indexing="ij"), dim=-1)
        assert torch.equal(position[window], places)
        assert (extent[window] == torch.tensor(lengths)).all()


def test_owners_and_text_offsets_follow_the_clips():
    plan = plan_windows([(1, 2, 2), (2, 1, 3)], [3, 1], adaptive_window, False)
    assert plan.clip_of_video.tolist() == [0] * 4 + [1] * 6
    assert plan.clip_of_text.tolist() == [0, 0, 0, 1]
    assert plan.text_before.tolist() == [3] * 4 + [1] * 6
    assert plan.text_position.tolist() == [0, 1, 2, 0]
    assert plan.clip_lengths == [4, 6]
    moved = move_plan(plan, torch.device("meta"))
    assert moved.order.is_meta
    assert all(rows.is_meta for rows in moved.text_rows)
    assert moved.runs == plan.runs
