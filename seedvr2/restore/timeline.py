"""Where the time of a pipeline of generators goes, by stage.

CUDA works later than it is told to: there the times are those of the device, between events in its stream.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
_END = object()


class Timeline:
    """Splits time among stages that draw from each other, each counting what it takes itself."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds: dict[str, float] = {}
        self._running: list[str] = []  # the innermost last
        self._since: Any = None
        self._pending: deque[tuple[str, Any, Any]] = deque()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds so far by stage; waits for what a device has still to do of it."""
        self._settle(wait=True)
        return self._seconds

    def timed(self, stage: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items, with the time to make them."""
        items = iter(items)
        while True:
            self._switch()
            self._running.append(stage)
            try:
                item = next(items, _END)
            finally:
                self._switch()
                self._running.pop()
            if item is _END:
                return
            yield item

    def _switch(self) -> None:
        now = self._now()
        if self._running:
            self._pending.append((self._running[-1], self._since, now))
        self._since = now
        self._settle(wait=False)

    def _now(self) -> Any:
        if self.device.type == "cuda":
            event = torch.Event(self.device, enable_timing=True)
            event.record(torch.accelerator.current_stream(self.device))
            return event
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        return time.perf_counter()

    def _settle(self, *, wait: bool) -> None:
        while self._pending:
            stage, start, end = self._pending[0]
            if self.device.type == "cuda":
                if wait:
                    end.synchronize()
                elif not end.query():
                    return
                spent = start.elapsed_time(end) / 1000
            else:
                spent = end - start
            self._seconds[stage] = self._seconds.get(stage, 0.0) + spent
            self._pending.popleft()
