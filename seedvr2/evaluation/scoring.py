"""One clip of one method, scored: its metrics, its displacement, a crop and its temporal profile.

What a clip gave is kept in a file, so that a run that was stopped goes on with the next one.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from seedvr2.errors import UserError
from seedvr2.evaluation.benchmark import Bench, Entry
from seedvr2.evaluation.contract import Clip, Metric, Settings
from seedvr2.evaluation.footage import files_of
from seedvr2.evaluation.metric import make_metrics
from seedvr2.evaluation.protocol import Protocol, Triple, bicubic, enlarged, geometry_of, triples
from seedvr2.evaluation.registration import offset_of, registered
from seedvr2.evaluation.temporal import TemporalProfile
from seedvr2.io.files import disk_errors, write_json
from seedvr2.io.images import write_image

CROP = 192  # pixels per side
SMALLEST = {"warp_error": 16, "vmaf": 20}  # pixels per side; OpenCV's DIS and libvmaf crash below
TRUTH = "GT"  # the name of the ground truth among the pictures
TRUTH_PROFILE = "GT.profile"


class Terms(NamedTuple):
    """Under which terms every clip of a run is scored."""

    bench: Bench
    protocol: Protocol
    metrics: tuple[str, ...]
    settings: Settings
    is_registered: bool
    made_by: str  # versions of packages, definitions and weights of the metrics


class Task(NamedTuple):
    """A clip to score. prediction: None for the bicubic anchor. folder: where what it gives is kept."""

    method: str
    entry: Entry
    prediction: Path | None
    terms: Terms
    folder: Path

    @property
    def record(self) -> Path:
        """Where its scores are kept."""
        return self.folder / "scores" / safe(self.method) / f"{safe(self.entry.name)}.json"

    def picture(self, name: str) -> Path:
        """Where a picture of it is kept."""
        return picture_path(self.folder, self.method, self.entry.name, name)


def score_clip(task: Task, *, beat: Callable[[], None] = lambda: None) -> str:
    """Score a clip and keep the result; returns why it could not be, empty if it could. `beat` is called per frame."""
    try:
        found = _scores(task, beat)
        with disk_errors(task.record):
            write_json(task.record, found)
    except UserError as error:
        return str(error)
    return ""


def score_apart(task: Task, *, beat: Callable[[], None]) -> str:
    """`score_clip` in one of several processes, which would slow each other down with threads of their own."""
    torch.set_num_threads(1)
    return score_clip(task, beat=beat)


def kept(task: Task) -> dict[str, Any] | None:
    """What an earlier run found for this clip under the same terms from the same files, None without."""
    try:
        found = json.loads(task.record.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("key") != key_of(task):
        return None
    return found if found["crop"] is None or task.picture("crop").is_file() else None


def key_of(task: Task) -> str:
    """Hash of all that the scores depend on: terms, and sizes and dates of the files."""
    sides = (task.prediction, task.entry.gt, task.entry.lq)
    files = [_stamps(path) if path else None for path in sides]
    text = json.dumps([task.method, task.terms, task.entry, files], default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def picture_path(folder: Path, method: str, clip: str, name: str) -> Path:
    """Where a picture of a clip of a method is kept: its crop, its profile, or the crop of the ground truth."""
    return folder / "pictures" / safe(method) / f"{safe(clip)}.{name}.png"


def safe(name: str) -> str:
    """A name as that of a file."""
    return "".join(c if c.isalnum() or c in "-_.= " else "_" for c in name).strip(".") or "_"


def _scores(task: Task, beat: Callable[[], None]) -> dict[str, Any]:
    entry, terms = task.entry, task.terms
    shape = geometry_of(terms.bench, entry, terms.protocol)
    offset = None if entry.gt is None else offset_of(_triples(task))
    beat()
    show = _Show(task, entry.frames // 2)
    frames = _watched(_triples(task), show, beat)
    (height, width), count, first = shape.target, entry.frames, 0
    shows_lq = shape.part == (0, 0, *shape.enlarged)
    if not shows_lq:  # the official crop
        frames = ((made, true, None) for made, true, _ in frames)
    if terms.is_registered and offset is not None and offset.is_certain and not offset.is_aligned:
        frames = registered(frames, offset)
        height, width = height - abs(offset.down), width - abs(offset.right)
        count, first = count - abs(offset.frames), max(offset.frames, 0)
        shows_lq = shows_lq and not (offset.down or offset.right)
    clip = Clip(entry.name, count, height, width, first)
    too_small = [name for name in terms.metrics if min(height, width) < SMALLEST.get(name, 1)]
    metrics = [
        m
        for m in metrics_of(terms.metrics, terms.settings)
        if _can(m, entry, shows_lq) and m.facts.name not in too_small
    ]
    for metric in metrics:
        metric.start(clip)
    for triple in frames:
        for metric in metrics:
            metric.add(*triple)
            beat()
    values = {metric.facts.name: metric.result() for metric in metrics}
    with disk_errors(task.folder):
        crop = show.write()
    return {
        "key": key_of(task),
        "values": {name: _plain(values.get(name)) for name in terms.metrics},
        "offset": None if offset is None else offset._asdict(),
        "crop": crop,
        "frame": show.number,
        "note": "; ".join(filter(None, (shape.note, *(f"too small for {name}" for name in too_small)))),
    }


def _triples(task: Task) -> Iterator[Triple]:
    bench, protocol = task.terms.bench, task.terms.protocol
    made = task.prediction or bicubic(task.entry, geometry_of(bench, task.entry, protocol))
    return triples(task.entry, made, bench, protocol)


def _can(metric: Metric, entry: Entry, shows_lq: bool) -> bool:
    """Whether a clip has what a metric needs; a crop and a shift in space show another part than the LQ."""
    if metric.facts.needs == "gt":
        return entry.gt is not None
    return metric.facts.needs != "lq" or (entry.lq is not None and shows_lq)


@lru_cache(maxsize=1)
def metrics_of(names: tuple[str, ...], settings: Settings) -> list[Metric]:
    """Those of the metrics that can be had; a process makes them once."""
    return make_metrics(names, settings)[0]


class _Show:
    """What a report shows of a clip: the crop of one frame in which the reference (GT, else the enlarged LQ) has most
    detail, and temporal profiles.
    """

    def __init__(self, task: Task, number: int):
        self.task, self.number = task, number
        self.triple: Triple | None = None
        self.profiles = {"profile": TemporalProfile()}
        if task.entry.gt is not None:
            self.profiles[TRUTH_PROFILE] = TemporalProfile()

    def see(self, number: int, triple: Triple) -> None:
        if number == self.number:
            self.triple = triple
        for profile, frame in zip(self.profiles.values(), triple[:2], strict=False):
            profile.add(frame)

    def write(self) -> list[int] | None:
        """Write the pictures of prediction and GT; returns top, left, height and width of the crop."""
        if self.triple is None:
            return None
        made, true, lq = self.triple
        reference = true if true is not None else made if lq is None else enlarged(lq, made.shape[:2])
        top, left, height, width = most_detailed(reference, CROP)
        for name, frame in {"crop": made, TRUTH: true}.items():
            if frame is not None:
                _write(self.task.picture(name), frame[top : top + height, left : left + width])
        for name, profile in self.profiles.items():
            _write(self.task.picture(name), profile.picture())
        return [top, left, height, width]


def most_detailed(frame: np.ndarray, side: int) -> tuple[int, int, int, int]:
    """The square (top, left, height, width) of a uint8 (H,W,3) frame with the strongest gradients, cut to the frame."""
    height, width = (min(side, length) for length in frame.shape[:2])
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    strength = np.abs(cv2.Laplacian(cv2.GaussianBlur(gray, (0, 0), 1.0), cv2.CV_32F))
    total = cv2.integral(strength)
    sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return int(top), int(left), height, width


def _watched(frames: Iterator[Triple], show: _Show, beat: Callable[[], None]) -> Iterator[Triple]:
    for number, triple in enumerate(frames):
        show.see(number, triple)
        beat()
        yield triple


def _write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.ascontiguousarray(picture))


def _plain(value: Any) -> Any:
    """A score for JSON, which knows no infinities."""
    return "inf" if isinstance(value, float) and math.isinf(value) else value


def _stamps(path: Path) -> list:
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files_of(path)]
