"""Encoders that would take the whole machine for themselves are kept from it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def usual_priority() -> Iterator[None]:
    """Leave this thread as it is scheduled now, and schedule those that are started inside like it.

    SVT-AV1, started by root, gives its threads and the one that starts it real-time priority, for which all other
    programs wait, and programs started later inherit it.
    """
    if not hasattr(os, "sched_setscheduler"):  # only Linux lets a thread be scheduled by its number
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    before = _threads()
    try:
        yield
    finally:
        for thread in {0} | (_threads() - before):
            with contextlib.suppress(OSError):  # a thread may have ended
                os.sched_setscheduler(thread, policy, parameters)


def _threads() -> set[int]:
    """Threads of this process; none where the system does not tell."""
    return {int(path.name) for path in Path("/proc/self/task").glob("[0-9]*")}
