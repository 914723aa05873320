"""One input into one output: read, restore, write in segments that a kill cannot undo, assemble, and tell how.

Reading and writing go on beside the networks. What is written depends on the input and the settings alone, not on
where a run was interrupted.
"""

import contextlib
import functools
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from seedvr2.errors import UserError
from seedvr2.io.clock import FrameClock
from seedvr2.io.encoding import Encoding
from seedvr2.io.files import remove
from seedvr2.io.media import Media
from seedvr2.io.mux import assemble
from seedvr2.io.picture import Picture
from seedvr2.io.segments import SegmentWriter
from seedvr2.io.streams import source_origin
from seedvr2.restore.events import Events
from seedvr2.restore.film import Cuts, Restores, Step, numbered, restored
from seedvr2.restore.journal import Journal
from seedvr2.restore.resize import Size, as_samples, resize_alpha, resize_frame
from seedvr2.restore.threads import Behind, ahead

Render = Callable[[Step], Picture]


class Target(NamedTuple):
    """Something to write: where, how, at which size, and what of a finished frame."""

    path: Path
    encoding: Encoding
    size: Size
    render: Render


@dataclass
class Outcome:
    """What became of a job. frames: written. seconds: by what they were spent on. stopped: asked to, before the end."""

    frames: int = 0
    shots: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    stopped: bool = False

    def spend(self, name: str, since: float) -> None:
        """Count the time since a moment."""
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - since


class Stop:
    """Ctrl-C asks once for an end after the running segment; twice, or while there is none, at once.

    A context manager of the main thread. `working`: whether a segment runs.
    """

    def __init__(self) -> None:
        self.asked = self.working = False
        self._before: object = None

    @contextlib.contextmanager
    def segments(self) -> Iterator[None]:
        """Segments run in this block."""
        self.working = True
        try:
            yield
        finally:
            self.working = False

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, _number: int, _frame: object) -> None:
        if self.asked or not self.working:
            raise KeyboardInterrupt
        self.asked = True
        os.write(2, b"\nstopping after this segment; Ctrl-C again stops at once\n")


class Job:
    """Restores one medium into its targets, the first of which is the output that the journal lies beside.

    The journal stays until its `remove`: an account of the outputs may still be missing.

    key: what the frames depend on besides the input. cuts: see `film`. segment: frames of a segment.
    """

    def __init__(
        self,
        media: Media,
        restorer: Restores,
        targets: Sequence[Target],
        *,
        size: Size,
        key: Mapping,
        cuts: Cuts = None,
        segment: int = 240,
        fresh: bool = False,
        sample_aspect: Fraction = Fraction(1),
        events: Events | None = None,
    ):
        self.media, self.restorer, self.targets, self.size = media, restorer, targets, size
        self.cuts, self.segment, self.sample_aspect = cuts, segment, sample_aspect
        self.events = events or Events()
        self.waiting = restorer.waiting(size)  # frames between two threads
        self.journal = Journal(targets[0].path, key, fresh=fresh)
        info = media.info
        origin = source_origin(info.path) if info.kind == "video" else None
        rate = Fraction(1) if info.kind == "image" else info.rate
        self.clock = FrameClock(rate, time_base=info.time_base, origin=origin)

    def run(self, stop: Stop) -> Outcome:
        """Work to the end, or to the end of the segment in which `stop` asks for it.

        Raises UserError if the input has no frame, or a disk is full.
        """
        done, outcome = self.journal.frames, Outcome(shots=self.journal.shots)
        if done:
            self.clock.restore(self.journal.state)
            self.events.say(f"{done} frames are finished already: going on from there", frames=done)
        steps = self._steps(done, outcome)
        with (
            contextlib.ExitStack() as writers,
            Behind(most=self.waiting) as behind,
            contextlib.closing(steps),
            stop.segments(),
        ):
            told = self.events.tracked(steps, stage="restore", total=self.media.info.frames, done=done)
            segments = itertools.groupby(told, key=lambda step: step.frame.number // self.segment)
            for number, members in segments:
                done += self._write(number, members, outcome, behind, writers)
                behind.call(self._finish, writers, number, done, list(outcome.shots), self.clock.state())
                if stop.asked:
                    outcome.stopped = next(segments, None) is not None  # else it was the last one
                    break
            behind.wait()
        if not done:
            raise UserError(f"{self.media.info.path} has no frame that can be decoded; check the file")
        outcome.frames = done
        if self.clock.restarts:
            outcome.notes.append("time stamps begin anew on the way; what follows was put behind what came before")
        self._assemble(outcome)
        return outcome

    def _steps(self, done: int, outcome: Outcome) -> Iterator[Step]:
        def resized(rgb: np.ndarray) -> torch.Tensor:
            return resize_frame(rgb, self.size)

        around = functools.partial(ahead, most=self.waiting)
        frames = numbered(self._read(outcome), self.cuts, complain=outcome.notes.append)
        return restored(frames, self.restorer, resized, done=done, shot=outcome.shots[-1], around=around)

    def _read(self, outcome: Outcome) -> Iterator[Picture]:
        pictures = self.media.pictures()
        while True:
            start = time.perf_counter()
            picture = next(pictures, None)
            outcome.spend("read", start)
            if picture is None:
                return
            yield picture

    def _write(
        self, number: int, steps: Iterator[Step], outcome: Outcome, behind: Behind, writers: contextlib.ExitStack
    ) -> int:
        """Have a segment written, without waiting for it; the number of its frames."""
        count, opened = 0, []
        behind.call(self._open, number, opened, writers)
        for step in steps:
            if step.frame.shot > outcome.shots[-1]:
                outcome.shots.append(step.frame.shot)
            tick = self.clock.tick(step.frame.picture.pts)
            behind.call(self._write_step, opened, step, tick, outcome)
            count += 1
        return count

    def _open(self, number: int, opened: list[SegmentWriter], writers: contextlib.ExitStack) -> None:
        opened += [
            writers.enter_context(self._writer(target, place, number)) for place, target in enumerate(self.targets)
        ]

    def _finish(self, writers: contextlib.ExitStack, number: int, done: int, shots: list[int], state: object) -> None:
        writers.pop_all().close()
        self.journal.add(_name(number), done, shots=shots, state=state)

    def _write_step(self, writers: list[SegmentWriter], step: Step, tick: int, outcome: Outcome) -> None:
        start = time.perf_counter()
        for writer, target in zip(writers, self.targets, strict=True):
            writer.write(target.render(step), tick)
        outcome.spend("write", start)

    def _writer(self, target: Target, place: int, number: int) -> SegmentWriter:
        return SegmentWriter(
            self.journal.path(f"{_name(number)}.{place}"),
            target.encoding,
            width=target.size.width,
            height=target.size.height,
            clock=self.clock,
            sample_aspect=self.sample_aspect,
            first=number * self.segment,
        )

    def _assemble(self, outcome: Outcome) -> None:
        start = time.perf_counter()
        until = self.clock.seconds(self.clock.state()["last"]) if outcome.stopped else None
        for place, target in enumerate(self.targets):
            outcome.notes += assemble(
                partial_path(target.path) if outcome.stopped else target.path,
                [self.journal.path(f"{name}.{place}") for name in self.journal.segments],
                target.encoding,
                source=self.media.info,
                clock=self.clock,
                sample_aspect=self.sample_aspect,
                until=until,
            )
            if not outcome.stopped:
                remove(partial_path(target.path))
        outcome.spend("assemble", start)


def partial_path(output: Path) -> Path:
    """Where the finished part of an output goes when its run is stopped."""
    return output.with_name(f"{output.stem}.partial{output.suffix}")


def plain_picture(size: Size, encoding: Encoding) -> Render:
    """What is written of a frame: the restored picture, with the transparency of its source if it is kept."""
    dtype = np.uint8 if encoding.depth == 8 else np.uint16

    def render(step: Step) -> Picture:
        alpha = step.frame.picture.alpha if encoding.has_alpha else None
        if alpha is not None:
            alpha = resize_alpha(_as_depth(alpha, dtype), size)
        return Picture(as_samples(step.restored, dtype), alpha)

    return render


def side_by_side(encoding: Encoding) -> Render:
    """Bicubic left, restored right."""
    dtype = np.uint8 if encoding.depth == 8 else np.uint16

    def render(step: Step) -> Picture:
        return Picture(as_samples(torch.cat([step.lq, step.restored], dim=-1), dtype))

    return render


def _as_depth(alpha: np.ndarray, dtype: type[np.unsignedinteger]) -> np.ndarray:
    if alpha.dtype == dtype:
        return alpha
    return alpha.astype(np.uint16) * np.uint16(257) if dtype == np.uint16 else np.rint(alpha / 257).astype(np.uint8)


def _name(number: int) -> str:
    return f"segment-{number:06}"
