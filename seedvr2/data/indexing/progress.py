"""Progress through many files: a bar on a terminal, a plain line now and then in a log."""

import sys
import time
from typing import Self, TextIO

from tqdm import tqdm

LINE_EVERY = 30.0  # seconds


class Progress:
    """Counts files of `total`, as a context manager; `stream` is standard error, `every` the seconds between lines."""

    def __init__(self, total: int, *, stream: TextIO | None = None, every: float = LINE_EVERY):
        self.total = total
        self.done = 0
        self._stream = stream or sys.stderr
        self._every = every
        self._start = self._last = time.monotonic()
        self._bar = None
        if self._stream.isatty():
            self._bar = tqdm(total=total, unit="file", file=self._stream, dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self.done:
            self._print()

    def step(self, note: str = "") -> None:
        """One more file is done; `note` ends the line."""
        self.done += 1
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update()
        elif time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self._print(note)

    def _print(self, note: str = "") -> None:
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = self.done / seconds
        left = f", {_clock((self.total - self.done) / rate)} left" if self.done < self.total else ""
        line = f"{self.done} of {self.total} files, {rate:.1f} files/s{left}{', ' + note if note else ''}"
        print(line, file=self._stream, flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
