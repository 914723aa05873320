"""Threads keep the order, hold little, and pass on what goes wrong."""

import threading
import time

import pytest

from seedvr2.restore.threads import Behind, ahead


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
