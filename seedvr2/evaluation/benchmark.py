"""The test sets of the paper, what a complete one has, and the clips that were found of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from seedvr2 import config
from seedvr2.errors import UserError
from seedvr2.evaluation.footage import measure
from seedvr2.evaluation.layouts import Layout, Located, locate, pair_folders
from seedvr2.evaluation.metric import METRICS

LISTED = 8  # clips that a complaint names before it only counts


@dataclass(frozen=True)
class Bench:
    """A test set, as `configs/bench/NAME.yaml` describes it.

    clips: how many it has; frames: how many each clip has, None if that differs, which `length` then says in words.
    has_gt: whether every clip has a ground truth (GT); without, one that is there is used all the same.
    lq: "given" is part of the set, "frozen" is synthesised by us, "either" is given where it is there.
    scale: height of the output over that of the LQ. gt: "720p" reduces larger GT to 720 lines. largest: lines of the
    output at most, None for any number. metrics: names per table of the paper. folders: further names of the set's own
    folder. layouts: see `layouts.Layout`. Raises UserError for values that make no sense.
    """

    name: str
    title: str
    origin: str
    clips: int | None
    frames: int | None
    length: str
    has_gt: bool
    lq: Literal["given", "frozen", "either"]
    scale: int
    gt: Literal["native", "720p"]
    largest: int | None
    metrics: Mapping[str, Sequence[str]]
    layouts: Sequence[Mapping[str, str | int | bool]]
    folders: Sequence[str] = ()

    def __post_init__(self):
        for name, known in {"lq": ("given", "frozen", "either"), "gt": ("native", "720p")}.items():
            if getattr(self, name) not in known:
                raise UserError(f"{name} of {self.name} is {getattr(self, name)!r}; use {' or '.join(known)}")
        for name in ("scale", "clips", "frames", "largest"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and value > 0):
                raise UserError(f"{name} of {self.name} is {value!r}; give a positive whole number")
        if not isinstance(self.has_gt, bool):
            raise UserError(f"has_gt of {self.name} is {self.has_gt!r}; use true or false")
        if not isinstance(self.metrics, Mapping) or not all(_is_list(names, str) for names in self.metrics.values()):
            raise UserError(f"metrics of {self.name} is {self.metrics!r}; give lists of names, or use --metrics")
        if not _is_list(self.layouts, Mapping):
            raise UserError(f"layouts of {self.name} is {self.layouts!r}; give a list of mappings with gt and lq")
        unknown = [name for names in self.metrics.values() for name in names if name not in METRICS]
        if unknown:
            raise UserError(f"{self.name} asks for the unknown metric {unknown[0]!r}; use {', '.join(METRICS)}")

    @property
    def contents(self) -> str:
        """What a complete set has, in words."""
        clips = "any number of clips" if self.clips is None else f"{self.clips} clips"
        return f"{clips} of {self.length}"


class Entry(NamedTuple):
    """One clip: `lq` and `gt` are files or folders of frames, None where there is none. Sizes (height, width) are those
    of the files. `is_frozen`: the LQ was made by us, of the GT cropped as `protocol.frozen_crop` says.
    """

    name: str
    lq: Path | None
    gt: Path | None
    frames: int
    gt_size: tuple[int, int] | None
    lq_size: tuple[int, int] | None
    is_frozen: bool = False


class Found(NamedTuple):
    """The usable clips of a set in order of their names, and one sentence per thing that is missing or wrong."""

    entries: list[Entry]
    problems: list[str]


def known() -> list[str]:
    """The names of all test sets."""
    return sorted(path.stem for path in (config.folder() / "bench").glob("*.yaml"))


def load_bench(name: str, overrides: Sequence[str] = ()) -> Bench:
    """The test set of a name, with changes like `gt=native`; raises UserError for an unknown name or key."""
    if name not in known():
        raise UserError(f"--bench {name} does not exist; use one of {', '.join(known())}")
    for change in overrides:
        if not re.match(r"\w+(\.\w+)*=", change):
            raise UserError(f"{change!r} is no change of an option of {name}; write for instance gt=native")
    composed = config.load(f"bench/{name}", [f"bench.{change}" for change in overrides])
    bench = config.build(config.plain(composed)["bench"], f"bench/{name}")
    assert isinstance(bench, Bench), f"bench/{name}.yaml describes a {type(bench).__name__}"
    return bench


def find_entries(
    bench: Bench,
    root: Path | None = None,
    *,
    lq: Path | None = None,
    gt: Path | None = None,
    allow_partial: bool = False,
) -> Found:
    """The clips of a set below `root`, or in the folders `lq` and `gt` themselves.

    Raises UserError if nothing of the set is there; also if anything of it is missing or does not fit, unless
    `allow_partial`, which leaves out the clips that cannot be used and returns what is wrong.
    """
    if lq or gt:
        located = pair_folders(lq, gt)
    elif root is None:
        raise UserError(f"--bench {bench.name} needs --data-root, or --lq, --gt or both; {described(bench)}")
    else:
        located = locate(bench, Path(root), [Layout(**layout) for layout in bench.layouts])
        if located is None:
            raise UserError(f"{bench.name} is not in {root}: {described(bench)}")
    found = _entries(bench, located)
    if found.problems and not allow_partial:
        what = "; ".join(found.problems)
        raise UserError(f"{bench.name} in {located.place} is not complete: {what}; complete it or use --allow-partial")
    if not found.entries:
        raise UserError(f"{bench.name} in {located.place} has no clip that can be used: {'; '.join(found.problems)}")
    return found


def described(bench: Bench) -> str:
    """What a set is, where it comes from, what it must have and how its folders must look, for whoever lacks it."""
    layouts = [Layout(**layout) for layout in bench.layouts]
    sides = ("LQ", "GT") if bench.lq != "frozen" and bench.has_gt else ("GT",) if bench.has_gt else ("LQ",)
    needed = [f"ROOT/{bench.name}/{side}/<clip>/*.png (or <clip>.mkv, <clip>.mp4)" for side in sides]
    if bench.has_gt and bench.lq == "either":
        needed[0] += " (without it LQ is synthesised)"
    others = [layout.gt if bench.has_gt else layout.lq for layout in layouts]
    others = [other.replace("{clip}", "<clip>") for other in others if other not in ("GT/{clip}", "LQ/{clip}")]
    also = f"; {' or '.join(dict.fromkeys(others))} will also be found there" if others else ""
    return (
        f"{bench.name} is {bench.title}; it comes from {bench.origin}; it must have {bench.contents}; "
        f"put it at {' and '.join(needed)}{also}"
    )


def listed(names: Sequence[str]) -> str:
    """Names one after the other, many of them shortened."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _is_list(value: object, kind: type) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(part, kind) for part in value)


def _entries(bench: Bench, located: Located) -> Found:
    entries, problems = [], []
    sides = {"GT": located.gt, "LQ": located.lq}
    given = [side for side, clips in sides.items() if clips]
    if bench.has_gt and not located.gt and bench.clips is not None:
        problems.append("there is no GT")
    names = list(dict.fromkeys([*(located.gt or {}), *(located.lq or {})]))
    for side in given:
        absent = [name for name in names if name not in sides[side]]
        if absent:
            problems.append(f"clips without {side}: {listed(absent)}")
    paired = [name for name in names if all(name in sides[side] for side in given)]
    if bench.clips is not None and len(paired) != bench.clips:
        problems.append(f"there are {len(paired)} of {bench.clips} clips")
    for name in paired:
        try:
            measured = {side: measure(sides[side][name]) for side in given}
        except UserError as error:
            problems.append(f"{name} cannot be used: {error}")
            continue
        counts = {side: footage.frames for side, footage in measured.items()}
        frames = min(counts.values())
        if len(set(counts.values())) > 1:
            problems.append(f"{name} has {counts['GT']} frames of GT and {counts['LQ']} of LQ")
            continue
        if bench.frames is not None and frames != bench.frames:
            problems.append(f"{name} has {frames} of {bench.frames} frames")
        sizes = {side: footage.size for side, footage in measured.items()}
        paths = {side: sides[side][name] for side in given}
        entries.append(Entry(name, paths.get("LQ"), paths.get("GT"), frames, sizes.get("GT"), sizes.get("LQ")))
    return Found(entries, problems)
