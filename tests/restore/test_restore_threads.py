"""Threads keep the order, hold little, and pass on what goes wrong."""

import itertools
import threading
import time

import pytest

from seedvr2.restore.resize import Size
from seedvr2.restore.threads import QUEUE, ROOM, Behind, ahead, waiting_frames


def test_items_arrive_in_order_and_few_are_made_ahead():
    made = []

    def items():
        for number in range(50):
            made.append(number)
            yield number

    seen = []
    for number in ahead(items(), most=3):
        seen.append(number)
        time.sleep(0.001)
        assert len(made) <= number + 6
    assert seen == list(range(50))


def test_they_are_made_while_others_are_used():
    started = threading.Event()

    def items():
        yield 0
        started.set()
        yield 1

    stream = ahead(items())
    assert next(stream) == 0
    assert started.wait(5)
    assert list(stream) == [1]


def test_an_error_of_the_source_is_raised_after_what_came_before():
    def items():
        yield 1
        raise ValueError("broken")

    stream = ahead(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stream)


def test_leaving_early_ends_the_thread():
    before = threading.active_count()
    stream = ahead(iter(range(1000)), most=2)
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_calls_run_one_after_the_other_and_are_done_at_the_end():
    seen = []
    with Behind(most=2) as behind:
        for number in range(20):
            behind.call(seen.append, number)
    assert seen == list(range(20))


def test_an_error_of_a_call_reaches_the_caller():
    def fail():
        raise OSError("full")

    behind = Behind()
    with behind:
        behind.call(fail)
        with pytest.raises(OSError, match="full"):
            behind.wait()


def test_nothing_runs_after_a_call_that_failed():
    ran = []

    def calls(behind):
        behind.call(lambda: 1 / 0)
        for _ in range(5):
            behind.call(ran.append, 1)
        behind.wait()

    with Behind(most=10) as behind, pytest.raises(ZeroDivisionError):
        calls(behind)
    assert ran == []


@pytest.mark.parametrize("size", [Size(64, 64), Size(768, 1344), Size(2160, 3840), Size(20000, 20000)])
def test_what_waits_is_a_window_at_most_and_limited_in_bytes(size):
    most = waiting_frames(size, 9, is_host=False)
    assert QUEUE <= most <= 36
    assert most == QUEUE or 12 * size.height * size.width * most <= ROOM
    assert waiting_frames(size, 9, is_host=True) == QUEUE


def test_reading_and_writing_go_on_between_the_bursts_of_an_accelerator():
    window = 16

    def read():
        for number in range(5 * window):
            time.sleep(0.004)
            yield number

    def seconds(most):
        start = time.perf_counter()
        with Behind(most=most) as behind:
            frames = ahead(read(), most=most)
            while taken := list(itertools.islice(frames, window)):
                for _ in taken:  # encoding is over in a moment
                    time.sleep(0.004)
                    behind.call(time.sleep, 0.004)
        return time.perf_counter() - start

    assert seconds(window) < 0.85 * seconds(QUEUE)
