"""Which outputs of a method belong to which clips: by equal names and nothing else.

One public script compares every set with the ground truth of another, another one shifts the names by one; hence a name
that is missing is missing, whatever else lies there.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from seedvr2.errors import UserError
from seedvr2.evaluation.benchmark import Bench, Entry, listed
from seedvr2.evaluation.footage import Footage, clips_in, first_number, measure
from seedvr2.evaluation.protocol import Protocol, geometry_of
from seedvr2.io.natural_order import numbered_frames


class Matched(NamedTuple):
    """The output of each clip that can be scored; what forbids a complete comparison; and what readers should know."""

    paths: dict[str, Path]
    problems: list[str]
    notes: list[str]


def match(entries: Sequence[Entry], pred: Path, *, bench: Bench, protocol: Protocol = "aligned") -> Matched:
    """Match the outputs in a folder, a file or folder of frames per clip, with the clips of a test set.

    Missing, extra, wrong-length, wrong-size and unreadable outputs are problems, one sentence each; outputs with
    problems of their own are left out of `paths`. Raises UserError if `pred` is not a folder or holds no clip.
    """
    pred = Path(pred)
    if not pred.is_dir():
        raise UserError(f"--pred {pred} is not a folder; give one with an output per clip, named like the clip")
    names = {entry.name for entry in entries}
    outputs = _outputs(pred, names)
    if not outputs:
        raise UserError(f"--pred {pred} holds no video, image or folder of frames; check the path")
    missing = [entry.name for entry in entries if entry.name not in outputs]
    extra = [name for name in outputs if name not in names]
    problems = [f"missing clips: {listed(missing)}"] if missing else []
    problems += [f"clips that are not part of {bench.name}: {listed(extra)}"] if extra else []
    if missing and extra and (shift := _shift(names, outputs)):
        problems.append(f"the numbers in the names look shifted by {shift}, so even equal names may be wrong pairs")
    paths, notes = {}, []
    for entry in entries:
        if entry.name not in outputs:
            continue
        try:
            footage = measure(outputs[entry.name])
        except UserError as error:
            problems.append(f"{entry.name} cannot be used: {error}")
            continue
        wrong = _differences(entry, footage, geometry_of(bench, entry, protocol).target)
        problems += wrong
        if not wrong:
            paths[entry.name] = outputs[entry.name]
            notes += [f"{entry.name}: {note}" for note in (*footage.notes, *_numbering(entry, outputs[entry.name]))]
    return Matched(paths, problems, notes)


def _outputs(pred: Path, names: Iterable[str]) -> dict[str, Path]:
    found = clips_in(pred)
    for name in names:  # a folder called like a clip is that clip, whatever its frames are called beside numbers
        folder = pred / name
        if name not in found and folder.is_dir() and numbered_frames(folder):
            found = {other: path for other, path in found.items() if not other.startswith(f"{name}/")} | {name: folder}
    return found


def _differences(entry: Entry, footage: Footage, target: tuple[int, int]) -> list[str]:
    wrong = []
    if footage.frames != entry.frames:
        wrong.append(f"{entry.name} has {footage.frames} frames instead of {entry.frames}")
    if footage.size != target:
        found, needed = (f"{width}x{height}" for height, width in (footage.size, target))
        wrong.append(f"{entry.name} is {found} instead of {needed}")
    return wrong


def _numbering(entry: Entry, output: Path) -> list[str]:
    wanted = next((n for n in map(first_number, filter(None, (entry.gt, entry.lq))) if n is not None), None)
    found = first_number(output)
    if None in (wanted, found) or wanted == found:
        return []
    return [f"its frames are numbered from {found}, those of the set from {wanted}; they are paired in order"]


def _shift(names: Iterable[str], outputs: Iterable[str]) -> int:
    """By how much one set of numbered names is ahead of the other, 0 if that does not explain the difference."""
    sides = [sorted(int(name) if name.isdigit() else -1 for name in side) for side in (names, outputs)]
    moves = {b - a for a, b in zip(*sides, strict=False)}
    same = len(sides[0]) == len(sides[1]) and min(sides[0][0], sides[1][0]) >= 0
    return moves.pop() if same and len(moves) == 1 else 0
