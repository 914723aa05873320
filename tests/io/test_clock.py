import itertools
import json
from fractions import Fraction

import numpy as np
import pytest

from seedvr2.errors import UserError
from seedvr2.io.clock import LARGEST_TICK_RATE, FrameClock

NTSC = Fraction(30000, 1001)


def times(clock, stamps):
    return [clock.tick(pts) * clock.time_base for pts in stamps]


def test_constant_rates_stay_exact_through_milliseconds():
    clock = FrameClock(NTSC, time_base=Fraction(1, 1000))
    stamps = [round(index / NTSC * 1000) for index in range(2000)]
    assert times(clock, stamps) == [index / NTSC for index in range(2000)]


def test_variable_rates_keep_their_stamps():
    stamps = [90 + 3003 * step for step in (0, 1, 3, 4, 10, 11)]
    clock = FrameClock(Fraction(22500, 1001), time_base=Fraction(1, 90000))
    assert times(clock, stamps) == [Fraction(pts - 90, 90000) for pts in stamps]


def test_a_wrong_rate_does_not_change_stamps_that_are_off_its_grid():
    stamps = [0, 33, 67, 110, 133]
    clock = FrameClock(Fraction(25), time_base=Fraction(1, 1000))
    assert times(clock, stamps) == [Fraction(pts, 1000) for pts in stamps]


def test_frames_without_stamps_follow_the_rate():
    assert times(FrameClock(NTSC), [None] * 3) == [0, 1 / NTSC, 2 / NTSC]
    assert times(FrameClock(NTSC, time_base=Fraction(1, 1200000)), [None] * 3) == [0, 1 / NTSC, 2 / NTSC]


def test_frames_keep_their_delay_behind_the_origin():
    stamps = [132006 + 3003 * index for index in range(3)]
    clock = FrameClock(NTSC, time_base=Fraction(1, 90000), origin=Fraction(130116, 90000))
    assert times(clock, stamps) == [Fraction(1890, 90000) + index / NTSC for index in range(3)]


def test_repeated_and_backward_stamps_still_increase():
    ticks = [FrameClock(Fraction(25), time_base=Fraction(1, 1000))]
    ticks = [ticks[0].tick(pts) for pts in (0, 40, 40, 20, 200)]
    assert all(after > before for before, after in itertools.pairwise(ticks))


def test_time_bases_fit_into_32_bits():
    clock = FrameClock(Fraction(2835000, 114599), time_base=Fraction(1, 1_000_000_007))
    assert clock.time_base.denominator <= LARGEST_TICK_RATE


def test_an_unknown_rate_without_stamps_is_the_users_mistake():
    with pytest.raises(UserError, match="frame rate"):
        FrameClock(None)


def test_a_clock_goes_on_after_a_restart():
    stamps = [100, 133, 167, 200, 300, 290, 333]
    whole = FrameClock(Fraction(30), time_base=Fraction(1, 1000))
    ticks = [whole.tick(pts) for pts in stamps]
    first, second = (FrameClock(Fraction(30), time_base=Fraction(1, 1000)) for _ in range(2))
    begun = [first.tick(pts) for pts in stamps[:3]]
    second.restore(first.state())
    assert begun + [second.tick(pts) for pts in stamps[3:]] == ticks
    assert second.origin == whole.origin == Fraction(1, 10)


@pytest.mark.parametrize("rate", [Fraction(25), None])
def test_stamps_that_begin_anew_go_on_behind_what_came_before(rate):
    clock = FrameClock(rate, time_base=Fraction(1, 90000))
    stamps = [*range(0, 90000, 3600), *range(0, 90000, 3600), 1800, *range(3600, 36000, 3600)]
    ticks = [clock.tick(stamp) for stamp in stamps[:30]]
    later = FrameClock(rate, time_base=Fraction(1, 90000))
    later.restore(json.loads(json.dumps(clock.state())))
    ticks += [later.tick(stamp) for stamp in stamps[30:]]
    steps = np.diff(ticks) * float(clock.time_base)
    assert later.restarts == 2
    assert steps.min() > 0
    assert steps.sum() == pytest.approx(len(steps) / 25, abs=0.1)
    assert (steps[:49] if rate else np.delete(steps[:49], 24)) == pytest.approx(0.04)


def test_a_single_wrong_stamp_moves_nothing_behind_it():
    clock = FrameClock(Fraction(25), time_base=Fraction(1, 1000))
    stamps = [0, 40, 80, 10120, *range(160, 12000, 40)]
    ticks = [clock.tick(stamp) for stamp in stamps]
    assert clock.restarts == 0
    assert clock.seconds(ticks[-1]) == Fraction(stamps[-1], 1000)
    assert all(after > before for before, after in itertools.pairwise(ticks))


def test_a_clock_takes_the_state_of_an_older_version():
    clock = FrameClock(Fraction(25), time_base=Fraction(1, 1000))
    clock.restore({"first": 0, "count": 5, "last": clock.tick(160)})
    assert clock.seconds(clock.tick(200)) == Fraction(1, 5)
