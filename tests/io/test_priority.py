"""Writing a film leaves this process scheduled as it was, whatever the encoder would have."""

import os
import threading
from pathlib import Path

import pytest

from seedvr2.io.clock import FrameClock
from seedvr2.io.priority import usual_priority
from seedvr2.io.segments import SegmentWriter
from tests.io.films import NTSC, encoding_for, moving

linux = pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="only Linux schedules threads one by one")


def policies() -> set[int]:
    return {os.sched_getscheduler(int(path.name)) for path in Path("/proc/self/task").glob("[0-9]*")}


@linux
def test_no_thread_is_scheduled_otherwise_while_av1_is_written_and_after(tmp_path):
    usual = policies()
    encoding, clock = encoding_for("a.mp4", codec="av1"), FrameClock(NTSC)
    with SegmentWriter(tmp_path / "segment", encoding, width=64, height=48, clock=clock) as writer:
        for number in range(3):
            writer.write(moving(number), number)
            assert policies() == usual
    assert policies() == usual == {os.sched_getscheduler(0)}


@linux
def test_threads_begun_inside_are_like_the_one_that_began_them():
    done, usual, batch = threading.Event(), os.sched_getscheduler(0), os.SCHED_BATCH
    try:
        with usual_priority():
            os.sched_setscheduler(0, batch, os.sched_param(0))
            thread = threading.Thread(target=done.wait)
            thread.start()
            assert policies() == {usual, batch}
        assert policies() == {usual}
    finally:
        done.set()
        thread.join()
