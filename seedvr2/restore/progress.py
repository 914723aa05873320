"""Progress of a long restoration: a bar with the time left on a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

LINE_EVERY = 10.0  # seconds


def tracked(
    frames: Iterable[Item],
    *,
    total: int | None,
    stream: TextIO | None = None,
    every: float = LINE_EVERY,
    mark: str = "",
) -> Iterator[Item]:
    """Pass frames through and report them on `stream` (standard error); `total` is a hint, None if unknown.

    mark: what lines begin with where several processes report; bars would overwrite each other.
    """
    stream = stream or sys.stderr
    if stream.isatty() and not mark:
        yield from tqdm(frames, total=total, unit="frame", file=stream, dynamic_ncols=True)
    else:
        yield from _logged(frames, total=total, stream=stream, every=every, mark=mark)


def _logged(frames: Iterable[Item], *, total: int | None, stream: TextIO, every: float, mark: str) -> Iterator[Item]:
    start = last = time.monotonic()
    count = 0
    for count, frame in enumerate(frames, 1):
        yield frame
        now = time.monotonic()
        if now - last >= every:
            print(mark + progress_line(count, total=total, seconds=now - start), file=stream, flush=True)
            last = now
    print(mark + progress_line(count, total=count, seconds=time.monotonic() - start), file=stream, flush=True)


def progress_line(count: int, *, total: int | None, seconds: float) -> str:
    """One line of a log: frames done, speed and, while unfinished, the time left."""
    rate = count / seconds if seconds > 0 else 0.0
    speed = f"{rate:.2f} frames/s"
    if total is None or count > total:  # containers may understate their length
        return f"{count} frames, {speed}"
    if count == total:
        return f"{count} of {count} frames in {clock(seconds)}, {speed}"
    left = clock((total - count) / rate) if rate else "unknown"
    return f"{count} of {total} frames, {speed}, {left} left"


def clock(seconds: float) -> str:
    """A duration as m:ss or h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
