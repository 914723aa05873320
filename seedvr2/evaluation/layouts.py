"""Where the clips of a test set lie: our own layout {GT,LQ}/<clip>, and those in which the sets are distributed.

DOVE's packs (`<Name>/{GT,LQ}/<clip>/*.png` and `{GT,LQ}-Video/<clip>.mkv`) are our own layout.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from seedvr2.errors import UserError
from seedvr2.evaluation.footage import clips_in

CLIP = "{clip}"


class Layout(NamedTuple):
    """Two patterns below the folder of a set, such as "{clip}/truth"; `{clip}` stands for a file or folder.

    is_classic: the LQ is a plain reduction of old benchmarks, so it is taken only with `lq: given`. offset: clips are
    numbered from there and renamed 000, 001, …
    """

    gt: str | None = None
    lq: str | None = None
    is_classic: bool = False
    offset: int | None = None


class Named(Protocol):
    """What is to be known of a test set to find it."""

    name: str
    folders: Sequence[str]
    clips: int | None
    has_gt: bool
    lq: str


class Located(NamedTuple):
    """The clips of either side by name, None where that side is not there, and the folder they were found in."""

    gt: dict[str, Path] | None
    lq: dict[str, Path] | None
    place: Path


def locate(bench: Named, root: Path, layouts: Sequence[Layout]) -> Located | None:
    """The clips of a set in `root/<name>`, or in `root` if it is the folder of the set itself; None if not there.

    The first layout that has all that is needed wins, one that also has LQ before one that lacks it. Raises UserError
    if `root` is not a folder.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the one that holds the test sets")
    second_best = None
    for place in _places(bench, root):
        for layout in layouts:
            gt = _side(place, layout.gt, layout, bench.clips)
            with_lq = bench.lq == "given" or (bench.lq == "either" and not layout.is_classic) or not bench.has_gt
            lq = _side(place, layout.lq, layout, bench.clips) if with_lq else None
            located = Located(gt or None, lq or None, place)
            if bench.has_gt and not gt:
                continue
            if lq or (bench.lq == "frozen" and gt):
                return located
            if bench.lq == "either" and gt:
                second_best = second_best or located
        if second_best:
            return second_best
    return None


def pair_folders(lq: Path | None, gt: Path | None) -> Located:
    """The clips of two folders, one of which may be None. Raises UserError for what is no folder, or holds no clip."""
    sides = {}
    for option, folder in {"gt": gt, "lq": lq}.items():
        if folder is not None and not Path(folder).is_dir():
            raise UserError(f"--{option} {folder} is not a folder; give one with a file or folder of frames per clip")
        sides[option] = None if folder is None else clips_in(Path(folder))
        if sides[option] == {}:
            raise UserError(f"--{option} {folder} holds no video, image or folder of frames; check the path")
    return Located(sides["gt"], sides["lq"], Path(lq or gt))


def _places(bench: Named, root: Path) -> Iterator[Path]:
    for name in (bench.name, *bench.folders):
        if (place := descend(root, name)) is not None:
            yield place
    yield root


def descend(folder: Path, relative: str) -> Path | None:
    """The folder at a relative path, whatever the case of its letters; None if there is none."""
    for part in filter(None, relative.split("/")):
        inner = sorted(path for path in folder.iterdir() if path.name.casefold() == part.casefold() and path.is_dir())
        if not inner:
            return None
        folder = next((path for path in inner if path.name == part), inner[0])
    return folder


def _side(place: Path, pattern: str | None, layout: Layout, count: int | None) -> dict[str, Path] | None:
    if pattern is None:
        return None
    before, after = pattern.split(CLIP)
    folder = descend(place, before)
    if folder is None:
        return None
    if after:
        inner = {path.name: descend(path, after) for path in sorted(folder.iterdir()) if path.is_dir()}
        clips = {name: path for name, path in inner.items() if path is not None}
    else:
        clips = clips_in(folder)
    return clips if layout.offset is None else _renumbered(clips, layout.offset, count)


def _renumbered(clips: dict[str, Path], offset: int, count: int | None) -> dict[str, Path]:
    numbers = {int(name) - offset: path for name, path in clips.items() if name.isdigit()}
    return {f"{n:03d}": path for n, path in sorted(numbers.items()) if n >= 0 and (count is None or n < count)}
