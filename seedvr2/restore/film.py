"""A film through the model: shot by shot, so that no shot shines through into the next, frame by frame in order.

Nothing depends on what precedes a shot, and inside one a restart needs the frames of a few windows only; so a film can
be continued at any frame with the very results that an uninterrupted run has.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch

from seedvr2.errors import UserError
from seedvr2.io.picture import Picture
from seedvr2.io.shots import mark_cuts
from seedvr2.restore.resize import Size
from seedvr2.restore.threads import QUEUE


class Frame(NamedTuple):
    """A frame of a film: its number, that of the first frame of its shot, and its picture."""

    number: int
    shot: int
    picture: Picture


class Step(NamedTuple):
    """A finished frame: `lq` is its picture at the size of the output, both float32 (3,H,W) in [-1,1]."""

    frame: Frame
    lq: torch.Tensor
    restored: torch.Tensor


class Restores(Protocol):
    """What restores one shot; see `ShotRestorer`. `seconds`: spent so far, by stage."""

    seconds: dict[str, float]

    def restart(self, frame: int) -> int:
        """The latest frame from which `restore` can start and give the same results from `frame` on."""
        ...

    def waiting(self, size: Size) -> int:
        """Frames of a size that should wait for it, and results of it that should be allowed to wait."""
        ...

    def restore(self, frames: Iterable[torch.Tensor], *, first: int = 0) -> Iterator[torch.Tensor | None]:
        """One result per frame."""
        ...


class Identity:
    """Restores nothing: every frame comes out as it is."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def restart(self, frame: int) -> int:
        """The frame itself."""
        return frame

    def waiting(self, size: Size) -> int:
        """The usual few."""
        return QUEUE

    def restore(self, frames: Iterable[torch.Tensor], *, first: int = 0) -> Iterator[torch.Tensor]:
        """Yield the frames."""
        yield from frames


Cuts = Sequence[int] | None  # numbers of the frames that begin shots; None: they are found


def refuse(mistake: str) -> None:
    """Raise a UserError."""
    raise UserError(f"{mistake}; correct the cuts")


def numbered(
    pictures: Iterable[Picture], cuts: Cuts = None, *, complain: Callable[[str], object] = refuse
) -> Iterator[Frame]:
    """The frames of a film. complain: is told at the end if a cut lies beyond it."""
    shot = 0
    if cuts is None:
        for number, (picture, begins) in enumerate(mark_cuts(pictures, picture=_bytes_of)):
            shot = number if begins else shot
            yield Frame(number, shot, picture)
        return
    beginnings, number = set(cuts), -1
    for number, picture in enumerate(pictures):
        shot = number if number in beginnings else shot
        yield Frame(number, shot, picture)
    if late := [cut for cut in cuts if cut > number]:
        complain(f"a cut at frame {late[0]} lies beyond the {number + 1} frames of the film")


def restored(
    frames: Iterable[Frame],
    restorer: Restores,
    resize: Callable[[np.ndarray], torch.Tensor],
    *,
    done: int = 0,
    shot: int = 0,
    around: Callable[[Iterator], Iterator] = iter,
) -> Iterator[Step]:
    """Yield the finished frames from number `done` on, in order; holds a window's worth of frames.

    resize: a picture's rgb as a float32 (3,H,W) in [-1,1] of the output's size. shot: where the shot began that frame
    `done - 1` lies in. around: what is put around the reading and resizing, for instance a thread.
    """
    begin = shot + restorer.restart(max(done - 1, 0) - shot)

    def prepared() -> Iterator[tuple[Frame, torch.Tensor]]:
        for frame in frames:
            if frame.number >= begin:
                yield frame, resize(frame.picture.rgb)

    for start, members in itertools.groupby(around(prepared()), key=lambda pair: pair[0].shot):
        waiting: deque[tuple[Frame, torch.Tensor] | None] = deque()
        for result in restorer.restore(_noted(members, waiting, done), first=max(begin - start, 0)):
            if wanted := waiting.popleft():
                assert result is not None, f"frame {wanted[0].number} was not restored"
                yield Step(*wanted, result)
        assert not waiting, f"{len(waiting)} frames were not restored"


def _noted(pairs: Iterable[tuple[Frame, torch.Tensor]], waiting: deque, done: int) -> Iterator[torch.Tensor]:
    # `itertools.tee` would keep dozens of frames that nobody waits for any more.
    for frame, lq in pairs:
        waiting.append((frame, lq) if frame.number >= done else None)
        yield lq


def _bytes_of(picture: Picture) -> np.ndarray:
    rgb = picture.rgb
    if rgb.dtype == np.float32:
        return np.rint(rgb * 255).astype(np.uint8)
    return rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8)
