"""What a run tells: plain lines and a progress bar for people, or one JSON object per line for programs."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from seedvr2.restore.progress import tracked

Item = TypeVar("Item")
EVERY = 1.0  # seconds between progress events for programs


class Events:
    """Tells on standard output, progress on standard error.

    quiet: errors only. as_json: events for programs. rank: of one of several processes that tell at the same time,
    which all lines then carry.
    """

    def __init__(self, *, quiet: bool = False, as_json: bool = False, rank: int | None = None):
        self.quiet, self.as_json, self.rank = quiet, as_json, rank
        self._mark = "" if rank is None else f"[{rank}] "

    @property
    def shows_progress(self) -> bool:
        """Whether people watch, and progress bars may be drawn."""
        return not (self.quiet or self.as_json)

    def say(self, text: str, *, event: str = "note", **facts: object) -> None:
        """Tell something; `facts` are for programs."""
        if self.as_json:
            self._send(event, text=text, **facts)
        elif not self.quiet:
            print(f"{self._mark}{text}", flush=True)

    def error(self, text: str, **facts: object) -> None:
        """Tell what went wrong, also when quiet."""
        if self.as_json:
            self._send("error", text=text, **facts)
        print(f"{self._mark}{text}", file=sys.stderr, flush=True)

    def tracked(self, items: Iterable[Item], *, stage: str, total: int | None, done: int = 0) -> Iterator[Item]:
        """Pass items through and tell how many, how fast, and how long the rest will take.

        total: how many there will be with the `done` ones, None if unknown; a hint.
        """
        left = None if total is None else max(total - done, 0)
        if self.as_json:
            yield from self._events(items, stage, left, done)
        elif self.quiet:
            yield from items
        else:
            yield from tracked(items, total=left, mark=self._mark)

    def _events(self, items: Iterable[Item], stage: str, left: int | None, done: int) -> Iterator[Item]:
        start = last = time.monotonic()
        count = 0
        for count, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            if now - last >= EVERY:
                self._progress(stage, count, left, done, now - start)
                last = now
        self._progress(stage, count, count, done, time.monotonic() - start)

    def _progress(self, stage: str, count: int, left: int | None, done: int, seconds: float) -> None:
        rate = count / seconds if seconds > 0 else 0.0
        eta = None if left is None or not rate else max(left - count, 0) / rate
        total = None if left is None else done + max(left, count)
        facts = {"frames": done + count, "total": total, "frames_per_second": round(rate, 3)}
        self._send("progress", stage=stage, **facts, seconds_left=None if eta is None else round(eta, 1))

    def _send(self, event: str, **facts: object) -> None:
        who = {} if self.rank is None else {"rank": self.rank}
        print(json.dumps({"event": event, "time": round(time.time(), 3), **who, **facts}), flush=True)
