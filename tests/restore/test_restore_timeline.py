"""Each stage counts what it takes itself, on a device that works later than it is told to as well."""

from types import SimpleNamespace

import pytest
import torch

from seedvr2.restore import timeline as module
from seedvr2.restore.timeline import Timeline


class Clock:
    """Of a processor and of a device that does everything `late` seconds later."""

    def __init__(self, late=0.0):
        self.now, self.late = 0.0, late

    def event(self, *_, enable_timing):
        assert enable_timing
        return Event(self)


class Event:
    def __init__(self, clock):
        self.clock = clock

    def record(self, _stream):
        self.at = self.clock.now + self.clock.late

    def query(self):
        return self.at <= self.clock.now

    def synchronize(self):
        self.clock.now = max(self.clock.now, self.at)

    def elapsed_time(self, end):
        return 1000 * (end.at - self.at)


@pytest.fixture(params=["cpu", "cuda"])
def clock(request, monkeypatch):
    clock = Clock(late=50.0 if request.param == "cuda" else 0.0)
    clock.device = torch.device(request.param)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(torch, "Event", clock.event)
    monkeypatch.setattr(torch.accelerator, "current_stream", lambda device: None)
    return clock


def test_a_stage_counts_neither_those_it_draws_from_nor_those_that_draw_from_it(clock):
    timeline = Timeline(clock.device)

    def taking(seconds, items):
        for item in items:
            clock.now += seconds
            yield item

    read = timeline.timed("read", taking(1, range(6)))
    pairs = timeline.timed("pair", taking(0.5, zip(read, read, strict=True)))
    for _ in timeline.timed("write", taking(2, pairs)):
        clock.now += 100
    assert timeline.seconds == {"read": 6, "pair": 1.5, "write": 6}
    timeline.seconds.clear()
    assert timeline.seconds == {}


def test_what_failed_counts_too(clock):
    timeline = Timeline(clock.device)

    def fails():
        clock.now += 3
        raise ValueError("broken")
        yield

    with pytest.raises(ValueError, match="broken"):
        list(timeline.timed("outer", timeline.timed("inner", fails())))
    assert timeline.seconds == {"inner": 3, "outer": 0}
