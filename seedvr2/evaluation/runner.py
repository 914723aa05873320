"""Methods scored clip by clip, on several processes, and what a report is made of."""

import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from seedvr2.data.indexing.workers import run_jobs
from seedvr2.errors import UserError
from seedvr2.evaluation.benchmark import Bench, Entry, load_bench
from seedvr2.evaluation.contract import Settings, versions
from seedvr2.evaluation.metric import METRICS, make_metrics
from seedvr2.evaluation.protocol import Protocol
from seedvr2.evaluation.results import Results, ranking
from seedvr2.evaluation.scoring import (
    TRUTH,
    TRUTH_PROFILE,
    Task,
    Terms,
    kept,
    metrics_of,
    picture_path,
    safe,
    score_apart,
    score_clip,
)

STUCK = 3600.0  # seconds that one step of a metric may take
SHOWN = 6  # clips with crops in the report, the worst ones
PROFILES = 3
LONGEST_NAME = 200  # bytes; with their endings, names of files must stay below 255
PACKAGES = ("seedvr2", "torch", "torchvision", "numpy", "opencv-python-headless", "av", "pyiqa", "lpips")


class Method(NamedTuple):
    """What is compared: outputs by clip, None for the bicubic anchor; facts and speed are for the report."""

    name: str
    outputs: Mapping[str, Path] | None
    facts: Mapping[str, Any] = {}
    speed: Mapping[str, Mapping[str, Any]] = {}


def terms_of(
    bench: Bench, protocol: Protocol, metrics: tuple[str, ...], settings: Settings, is_registered: bool
) -> Terms:
    """The terms of a run, with all that its metrics are made of."""
    made_by = json.dumps([versions(*PACKAGES), [metric.facts for metric in metrics_of(metrics, settings)]])
    return Terms(bench, protocol, metrics, settings, is_registered, made_by)


def score_methods(
    methods: Sequence[Method],
    entries: Sequence[Entry],
    terms: Terms,
    folder: Path,
    *,
    workers: int = 1,
    say: Callable[[str], Any] = print,
) -> dict[str, dict[str, dict]]:
    """What `scoring` found, by method and clip; what an earlier run found under the same terms is taken over.

    Raises UserError for a clip that cannot be scored, after the others are.
    """
    tasks = [
        Task(method.name, entry, None if method.outputs is None else method.outputs[entry.name], terms, folder)
        for method in methods
        for entry in entries
        if method.outputs is None or entry.name in method.outputs
    ]
    check_names([method.name for method in methods], [entry.name for entry in entries])
    waiting = [task for task in tasks if kept(task) is None]
    if len(waiting) < len(tasks):
        say(f"{len(tasks) - len(waiting)} of {len(tasks)} clips are scored already")
    failed, start = [], time.monotonic()
    for number, (task, failure) in enumerate(_done(waiting, workers), 1):
        each = (time.monotonic() - start) / number
        left = "" if number == len(waiting) else f", about {each * (len(waiting) - number):.0f} s left"
        say(f"scored {task.method}, {task.entry.name} ({number} of {len(waiting)}{left})")
        failed += [f"{task.method}, {task.entry.name}: {failure}"] if failure else []
    if failed:
        raise UserError("; ".join(failed))
    found: dict[str, dict[str, dict]] = {method.name: {} for method in methods}
    for task in tasks:
        found[task.method][task.entry.name] = kept(task) or {}
    return found


def check_names(methods: Sequence[str], clips: Sequence[str]) -> None:
    """Raises UserError for names of methods or of clips that would give the same files, and for too long ones."""
    for kind, names in {"method": methods, "clip": clips}.items():
        taken: dict[str, str] = {}
        for name in names:
            file = safe(name)
            if file in taken:
                pair = f"{taken[file]} and {name}"
                raise UserError(f"the {kind}s {pair} have the same name, but for punctuation; rename one")
            if len(file.encode()) > LONGEST_NAME:
                raise UserError(f"the name of {kind} {name} is longer than {LONGEST_NAME} bytes; give a shorter one")
            taken[file] = name


def collected(
    methods: Sequence[Method],
    found: Mapping[str, Mapping[str, dict]],
    terms: Terms,
    folder: Path,
    *,
    skipped: Mapping[str, str],
    notes: Sequence[str] = (),
    lq_hash: str = "",
    is_partial: bool = False,
    is_own_lq: bool = False,
    command: str = "",
) -> Results:
    """The results that a report shows, from what `score_methods` found."""
    described = {
        m.facts.name: {k: v for k, v in m.facts._asdict().items() if k != "name"}
        for m in metrics_of(terms.metrics, terms.settings)
    }
    is_public = terms.bench.name == "videolq" and terms.bench == load_bench("videolq")
    bench = {name: value for name, value in asdict(terms.bench).items() if name not in ("layouts", "folders")}
    results = Results(
        bench=bench,
        protocol=terms.protocol,
        partial=is_partial,
        registered=terms.is_registered,
        comparable=is_public and not (is_partial or is_own_lq or terms.is_registered) and terms.protocol == "aligned",
        lq_hash=lq_hash,
        notes=[*notes, *_geometry_notes(found)],
        metrics=described,
        skipped=dict(skipped),
        methods={
            method.name: {
                "clips": {clip: _values(one) for clip, one in found[method.name].items()},
                "facts": dict(method.facts),
                "speed": dict(method.speed),
            }
            for method in methods
        },
        offsets={
            method: {clip: one["offset"] for clip, one in clips.items() if one.get("offset")}
            for method, clips in found.items()
        },
        versions={"python": platform.python_version()}
        | dict(_pairs(versions(*PACKAGES)))
        | ({"commit": head} if (head := commit()) else {}),
        hardware=hardware(),
        command=command,
    )
    _add_pictures(results, found, folder)
    return results


def choose_metrics(
    asked: Sequence[str] | None, tables: Mapping[str, Sequence[str]], entries: Sequence[Entry], settings: Settings
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The metrics of a run, and for each one left out why; asked: those that must not be left out, None for all of the
    tables of the set. Raises UserError for a metric that was asked for and cannot be had.
    """
    if asked is not None and not all(asked):
        raise UserError(f"--metrics {','.join(asked)} has an empty name; give names from {', '.join(METRICS)}")
    names = list(dict.fromkeys(asked or [name for table in tables.values() for name in table]))
    skipped = {}
    if not any(entry.gt for entry in entries):
        for name in [name for name in names if name in METRICS and _needs(name, settings) == "gt"]:
            skipped[name] = "it compares with a ground truth, and the clips have none"
    usable, missing = make_metrics([name for name in names if name not in skipped], settings)
    skipped |= missing
    if asked and skipped:
        name, reason = next(iter(skipped.items()))
        raise UserError(f"--metrics {name} cannot be had: {reason}")
    if not usable:
        raise UserError("; ".join(f"{name}: {reason}" for name, reason in skipped.items()))
    return tuple(metric.facts.name for metric in usable), skipped


def hardware() -> dict[str, Any]:
    """Processor and GPU."""
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {"machine": platform.machine(), "cores": os.cpu_count() or 0, **gpu}


def _needs(name: str, settings: Settings) -> str:
    usable, _ = make_metrics([name], settings)
    return usable[0].facts.needs if usable else ""


def _done(tasks: list[Task], workers: int) -> Iterable[tuple[Task, str]]:
    if workers <= 1 or len(tasks) < 2:
        for task in tasks:
            yield task, score_clip(task)
        return
    for outcome in run_jobs(score_apart, [(task,) for task in tasks], workers=workers, timeout=STUCK):
        failure = outcome.result if not outcome.failure else f"its process {outcome.failure}; use fewer --workers"
        yield outcome.job[0], failure


def _values(one: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: math.inf if value == "inf" else value for name, value in one["values"].items()}


def _geometry_notes(found: Mapping[str, Mapping[str, dict]]) -> Iterator[str]:
    clips = next(iter(found.values()), {})
    notes: dict[str, list[str]] = {}
    for clip, one in clips.items():
        if one.get("note"):
            notes.setdefault(one["note"], []).append(clip)
    for note, names in notes.items():
        yield f"{names[0]}{f' and {len(names) - 1} more clips' if len(names) > 1 else ''}: {note}"


def _add_pictures(results: Results, found: Mapping[str, Mapping[str, dict]], folder: Path) -> None:
    _, _, clips = ranking(results)
    clips = clips or list(dict.fromkeys(clip for one in found.values() for clip in one))
    results["pictures"], results["profiles"] = {}, {}
    for place, clip in enumerate(clips[:SHOWN]):
        holders = [method for method, scores in found.items() if clip in scores]
        one = found[holders[0]][clip]
        has_truth = one["offset"] is not None
        crops, profiles = (
            {method: picture_path(folder, method, clip, name) for method in holders}
            | ({TRUTH: picture_path(folder, holders[0], clip, truth)} if has_truth else {})
            for name, truth in (("crop", TRUTH), ("profile", TRUTH_PROFILE))
        )
        results["pictures"][clip] = {"frame": one["frame"], "crop": one["crop"], "methods": crops}
        if place < PROFILES:
            results["profiles"][clip] = profiles


def _pairs(text: str) -> list[list[str]]:
    return [part.rsplit(" ", 1) for part in text.split(", ") if part]


def commit() -> str | None:
    """The commit of this repository that is checked out, None outside one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
