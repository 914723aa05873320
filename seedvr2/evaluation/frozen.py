"""LQ for test sets that come without: made once from the ground truth (GT), the same everywhere, and kept.

Each clip is degraded by the preset `test` with a seed of its own, a function of the test set, the clip's name and the
preset. A cache is a folder `<bench>-<key>` with `LQ/<clip>.mkv` (FFV1), a record of everything drawn per clip, and
`manifest.json`; the key stands for the files of the GT, the preset and the library versions, the hash that is reported
for the pixels that came out.
"""

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import torch

from seedvr2 import config
from seedvr2.data.degradation.draw import to_bytes, to_floats
from seedvr2.data.degrade import BYTES_PER_PIXEL
from seedvr2.data.indexing.workers import run_jobs
from seedvr2.errors import UserError
from seedvr2.evaluation.benchmark import Bench, Entry
from seedvr2.evaluation.footage import files_of
from seedvr2.evaluation.protocol import Geometry, geometry_of, prepared_gt
from seedvr2.io.files import disk_errors, remove
from seedvr2.io.media import open_media
from seedvr2.io.writer import VideoWriter
from seedvr2.randomness import seed_of

PRESET = "test"
USUAL_RATE = Fraction(24)  # frames per second where the GT has none
STUCK = 3600.0  # seconds that one operation may take
KEY_LENGTH = 16  # of 64 hexadecimal digits


class Recipe(NamedTuple):
    """What makes the LQ of a test set: the plain configuration of the degradation, and what else the bytes depend on.

    `seeds` is the digest of the configuration that seeds depend on.
    """

    bench: str
    gt: str
    scale: int
    degradation: dict
    seeds: str
    versions: dict[str, str]


class Job(NamedTuple):
    """A clip to be made: where to, and all it depends on."""

    entry: Entry
    shape: Geometry
    recipe: Recipe
    gt_sha256: str
    folder: Path


def frozen_lq(
    bench: Bench,
    entries: Sequence[Entry],
    cache: Path,
    *,
    workers: int = 1,
    say: Callable[[str], Any] = print,
) -> tuple[list[Entry], str]:
    """The clips with their frozen LQ, and the hash (64 hexadecimal digits) of all its pixels and of the clips' names.

    What the cache holds is checked by its hashes; clips that are missing or damaged are made, each whole or not at all,
    so that a run that was killed goes on where it stopped. `say` receives one line per clip made. `workers`: processes,
    each of which holds a clip in memory. Raises UserError for a clip without GT, a GT that is too small or cannot be
    read, and a disk that cannot be written.
    """
    recipe = recipe_of(bench)
    for entry in entries:
        if entry.gt is None:
            raise UserError(f"clip {entry.name} of {bench.name} has no GT to make an LQ of; give its LQ or its GT")
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        digests = dict(
            zip((e.name for e in entries), pool.map(_digest, (files_of(e.gt) for e in entries)), strict=True)
        )
    key = _key(recipe, digests)
    folder = Path(cache) / f"{bench.name}-{key}"
    shapes = [geometry_of(bench, entry._replace(lq_size=None, is_frozen=True)) for entry in entries]
    jobs = [
        Job(entry, shape, recipe, digests[entry.name], folder) for entry, shape in zip(entries, shapes, strict=True)
    ]
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _clear_dead(folder)
        waiting = [job for job in jobs if not _is_sound(job, say)]
    if len(waiting) < len(jobs):
        say(f"{folder.name}: {len(jobs) - len(waiting)} of {len(jobs)} clips are there and sound")
    for number, (job, failure) in enumerate(_done(waiting, workers), 1):
        if failure:
            raise UserError(f"the LQ of {job.entry.name} cannot be made: {failure}")
        say(f"{folder.name}: made {job.entry.name} ({number} of {len(waiting)})")
    records = {job.entry.name: json.loads(_record(job).read_text()) for job in jobs}
    digest = hashlib.sha256(
        json.dumps({name: records[name]["sha256"] for name in sorted(records)}).encode()
    ).hexdigest()
    manifest = {"hash": digest, "key": key, "preset": PRESET, **recipe._asdict(), "clips": records}
    with disk_errors(folder), _own_folder(folder) as work:
        _write_json(manifest, folder / "manifest.json", work)
    made = [
        job.entry._replace(lq=_output(job), lq_size=tuple(records[job.entry.name]["size"]), is_frozen=True)
        for job in jobs
    ]
    return made, digest


def given_hash(entries: Sequence[Entry]) -> str:
    """The hash (64 hexadecimal digits) of the files of LQ that came with the clips, and of the clips' names."""
    digests = {entry.name: _digest(files_of(entry.lq)) for entry in entries}
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def recipe_of(bench: Bench) -> Recipe:
    """The recipe of a test set with the libraries at hand."""
    degradation = config.plain(config.load(f"degradation/{PRESET}"))["degradation"] | {"target_scale": bench.scale}
    versions = {
        "seedvr2": version("seedvr2"),
        "av": av.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "torch": torch.__version__.split("+")[0],
    }
    seeds = hashlib.sha256(json.dumps(degradation, sort_keys=True).encode()).hexdigest()
    return Recipe(bench.name, bench.gt, bench.scale, degradation, seeds, versions)


def make_clip(job: Job, *, beat: Callable[[], None] = lambda: None) -> str:
    """Degrade one clip and write it with its record; returns why it failed, empty if it did not. `beat` is called now
    and then.
    """
    try:
        frames = np.stack(list(prepared_gt(job.entry, job.shape)))
        record: list[dict] = []
        degradation = config.build(job.recipe.degradation, "degradation")
        seed = seed_of("frozen", job.recipe.bench, job.entry.name, job.recipe.seeds)
        rng = np.random.default_rng(seed)
        lq = degradation(to_floats(frames), rng, record=record, watch=lambda steps: _beating(steps, beat))
        pictures = [to_bytes(frame) for frame in lq]
        facts = {
            "seed": seed,
            "frames": len(pictures),
            "size": list(pictures[0].shape[:2]),
            "gt_crop": list(job.shape.crop),
            "gt_size": list(job.shape.gt_size),
            "gt_sha256": job.gt_sha256,
            "sha256": _pixels(pictures),
            "drawn": record,
        }
        with disk_errors(job.folder), _own_folder(job.folder) as work:
            _write(job, pictures, facts, work)
    except UserError as error:
        return str(error)
    return ""


def _done(jobs: list[Job], workers: int) -> Iterable[tuple[Job, str]]:
    if workers <= 1 or len(jobs) < 2:
        for job in jobs:
            yield job, make_clip(job)
        return
    for outcome in run_jobs(make_clip, [(job,) for job in jobs], workers=workers, timeout=STUCK):
        job = outcome.job[0]
        need = BYTES_PER_PIXEL * job.entry.frames * job.shape.target[0] * job.shape.target[1] / 1e9
        advice = f"its process ended or stood still; it takes {need:.1f} GB of memory, so use fewer --workers"
        yield job, advice if outcome.failure else outcome.result


@contextlib.contextmanager
def _own_folder(folder: Path) -> Iterator[Path]:
    """A folder inside that no other process writes to, so that two runs may fill one cache; gone after the block."""
    work = folder / f".work-{platform.node()}-{os.getpid()}"
    work.mkdir(exist_ok=True)
    try:
        yield work
    finally:
        remove(work)


def _write(job: Job, pictures: list[np.ndarray], facts: dict, work: Path) -> None:
    """Write the clip and then, as the sign that it is complete, its record; each appears when it is whole."""
    with open_media(job.entry.gt) as media:
        rate = media.info.rate or USUAL_RATE
    partial = work / "clip.mkv"
    height, width = pictures[0].shape[:2]
    with VideoWriter(partial, width=width, height=height, rate=rate, is_lossless=True) as writer:
        for picture in pictures:
            writer.write(picture)
    facts = facts | {"file_sha256": _digest([partial])}
    _output(job).parent.mkdir(parents=True, exist_ok=True)
    partial.replace(_output(job))
    _write_json(facts, _record(job), work)


def _write_json(facts: dict, path: Path, work: Path) -> None:
    partial = work / "facts.json"
    partial.write_text(json.dumps(facts, indent=1) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(path)


def _is_sound(job: Job, say: Callable[[str], Any]) -> bool:
    """Whether the cache holds this clip as it was written; says so if it holds another."""
    output, record = _output(job), _record(job)
    if not record.exists():
        return False
    try:
        sound = _digest([output]) == json.loads(record.read_text())["file_sha256"]
    except (OSError, ValueError, KeyError):
        sound = False
    if not sound:
        say(f"{job.folder.name}: {job.entry.name} is damaged or gone and is made again")
        remove(record)
    return sound


def _clear_dead(folder: Path) -> None:
    # What killed processes of this machine left behind.
    for work in folder.glob(f".work-{platform.node()}-*"):
        number = work.name.rsplit("-", 1)[1]
        if number.isdigit() and not _is_alive(int(number)):
            remove(work)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _key(recipe: Recipe, digests: dict[str, str]) -> str:
    facts = json.dumps([recipe._asdict(), digests], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:KEY_LENGTH]


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _pixels(pictures: list[np.ndarray]) -> str:
    digest = hashlib.sha256(repr((len(pictures), pictures[0].shape)).encode())
    for picture in pictures:
        digest.update(picture.tobytes())
    return digest.hexdigest()


def _beating(steps: Sequence, beat: Callable[[], None]) -> Iterable:
    for step in steps:
        beat()
        yield step


def _output(job: Job) -> Path:
    return job.folder / "LQ" / f"{job.entry.name}.mkv"


def _record(job: Job) -> Path:
    return job.folder / "records" / f"{job.entry.name}.json"
