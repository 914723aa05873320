"""Properties of shot detection: cuts lie exactly at joins, and nothing else is a cut."""

import weakref

import numpy as np
import pytest

from seedvr2.io.shots import REACH, mark_cuts
from tests.data.clips import pan, texture


def starts(frames) -> list[int]:
    marked = list(mark_cuts(frames))
    assert all(np.array_equal(frame, given) for (frame, _), given in zip(marked, frames, strict=True))
    return [number for number, (_, begins) in enumerate(marked) if begins]


@pytest.mark.parametrize(("before", "after"), [(4, 9), (9, 4), (12, 12), (12, 1), (12, 2)])
def test_joined_clips_are_cut_exactly_at_the_join(before, after):
    for seed in range(5):
        assert starts(pan(seed, before) + pan(seed + 20, after)) == [0, before]


def test_several_shots_are_all_found():
    shots = [pan(seed, 6 + seed) for seed in range(5)]
    assert starts([frame for shot in shots for frame in shot]) == [0, 6, 13, 21, 30]


def test_moving_pictures_are_not_cut():
    for step in (0, 1, 6, 24):  # up to a fifth of the picture per frame
        assert starts(pan(3, 20, step=step)) == [0]


def test_flashes_and_torn_frames_are_not_cuts():
    for length in (1, 2, 3):
        clip = pan(1, 20)
        clip[8 : 8 + length] = [np.full_like(clip[0], 255)] * length
        assert starts(clip) == [0]
        clip[8 : 8 + length] = [texture(9)] * length
        assert starts(clip) == [0]


def test_doubled_frames_do_not_hide_a_pan_or_a_cut():
    clip = [frame for frame in pan(2, 10, step=16) for _ in range(2)]
    assert starts(clip) == [0]
    other = [frame for frame in pan(7, 8, step=16) for _ in range(2)]
    assert starts(clip + other) == [0, len(clip)]


def test_a_jump_at_the_end_of_a_scene_is_not_a_cut():
    clip = pan(4, 20, step=3)
    jump = [*clip[:12], clip[15]]  # three frames were dropped
    assert starts(jump) == [0]


def test_slow_fades_are_not_cuts():
    clip = pan(5, 40)
    dark = [(frame * (1 - time / 39)).astype(np.uint8) for time, frame in enumerate(clip)]
    assert starts(dark) == [0]


def test_a_change_of_size_is_a_cut():
    large = [texture(0, 96, 128)] * 6
    assert starts(large + [frame[::2, ::2].copy() for frame in large]) == [0, 6]


def test_short_streams_pass():
    assert list(mark_cuts([])) == []
    for length in range(1, REACH + 1):
        assert starts(pan(0, length)) == [0]


def test_no_more_than_four_frames_are_held():
    class Frame:
        def __init__(self, picture):
            self.picture = picture

    alive, most, seen = weakref.WeakSet(), 0, 0

    def stream():
        nonlocal most
        for picture in pan(0, 30):
            frame = Frame(picture)
            alive.add(frame)
            most = max(most, len(alive))
            yield frame
            del frame

    for item, _ in mark_cuts(stream(), picture=lambda frame: frame.picture):
        seen += isinstance(item, Frame)
        del item
    assert seen == 30
    assert 1 < most <= REACH
