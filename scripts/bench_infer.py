"""Measure restoration stage by stage, beside the least time that its arithmetic can take, and how it scales.

    python scripts/bench_infer.py --models 3b 7b tiny                     # a GPU -> docs/benchmarks/infer_<gpu>.json
    python scripts/bench_infer.py --models tiny --sizes 1280x720 --frames 21 --device cpu
    python scripts/bench_infer.py --baseline "python other.py {input} {output} --size {width}x{height}"

encode, generate, decode: the calls of a whole clip in memory, as `infer` makes them. all: from a film (a quarter of
the size) to a film, reading and writing included. 3b and 7b have random weights of the released shapes, made on the
device, unless --real loads the released files. A baseline is a command that restores the same film, run in turn with
ours, with the same weights if it loads them from {weights}; its wall time counts, loading included, and seconds by
stage if the last line that it prints is a JSON object of them. --plot draws time and memory over frames and pixels,
and says whether time is linear (5 % in frames, 15 % in pixels) and memory is flat in frames. On a CPU processor
seconds over threads stand for time wherever it is compared, so that other work does not count.
"""

import argparse
import gc
import itertools
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import seedvr2  # isort: skip  # before torch: the package sets how PyTorch allocates
import numpy as np
import torch
from bench_models import restorer_of, weights_of
from limits import Device, chosen_device, clock
from provenance import report_path
from roofline import MODELS, PATHS, Clip, floors, on_path, stages
from scaling import report_scaling

from seedvr2.data.procedural import ProceduralClips
from seedvr2.errors import Parser, UserError, main_guard
from seedvr2.evaluation.runner import commit
from seedvr2.io.encoding import choose_encoding
from seedvr2.io.files import write_json
from seedvr2.io.media import open_media
from seedvr2.io.writer import VideoWriter
from seedvr2.models.vae.autoencoder import TIME
from seedvr2.restore.device import DTYPES, forget_peak, peak_memory, pick_device, ways_of
from seedvr2.restore.events import Events
from seedvr2.restore.job import Job, Stop, Target, plain_picture
from seedvr2.restore.memory import give_back_at_once, is_out_of_memory
from seedvr2.restore.resize import Size, parse_size
from seedvr2.restore.shot import ShotRestorer
from seedvr2.restore.stream import decoded, encoded, windowed

STAGES = ("encode", "generate", "decode", "all")
CPU = torch.device("cpu")
SHRINK = 4  # side of the output over that of the film


class Case(NamedTuple):
    """What is measured."""

    model: str
    size: Size
    frames: int


def calls_of(
    restorer: ShotRestorer, case: Case, film: Path, folder: Path, wanted: Iterable[str]
) -> dict[str, Callable[[], dict]]:
    """What is timed: by stage, a function that does it once and may tell more about it."""
    device, dtype = restorer.device, restorer.dtype
    frames, height, width = Clip(case.frames, case.size).padded
    draw = torch.Generator().manual_seed(0)
    shape = *Clip(case.frames, case.size).latent, restorer.codec.vae.latent_channels
    latents = torch.randn(shape, generator=draw).to(device, dtype)

    picture = torch.rand(3, height, width, generator=draw).mul_(2).sub_(1).to(device, dtype)

    def drained(stream: Iterable) -> dict:
        for _ in stream:
            pass
        return {}

    chunks = {"seed": 0, "latents": restorer.chunk}
    window = {"window": restorer.window, "overlap": restorer.overlap}
    every = {
        "encode": lambda: drained(encoded(itertools.repeat(picture, frames), restorer.codec, **chunks)),
        "generate": lambda: drained(windowed(latents, restorer.generation, **window)),
        "decode": lambda: drained(decoded(latents, restorer.codec, count=restorer.chunk)),
        "all": lambda: restored_film(restorer, case.size, film, folder / "restored.mp4"),
    }
    return {name: every[name] for name in wanted}


def restored_film(restorer: ShotRestorer, size: Size, film: Path, output: Path) -> dict:
    """From film to film; seconds by what they were spent on."""
    restorer.seconds.clear()
    with open_media(film) as media, Stop() as stop:
        encoding = choose_encoding(output, media.info, width=size.width, height=size.height)
        target = Target(output, encoding, size, plain_picture(size, encoding))
        outcome = Job(media, restorer, [target], size=size, key={}, cuts=[], fresh=True, events=Events(quiet=True)).run(
            stop
        )
    return {**outcome.seconds, **restorer.seconds}


def timed(call: Callable[[], dict], device: torch.device) -> dict:
    """Seconds of a call by the clock on the wall and by `clock`, and what it tells."""
    gc.collect()
    start, used = time.perf_counter(), clock(device)
    told = call()
    used = clock(device) - used
    return {"seconds": time.perf_counter() - start, "used": used, "told": told}


def summary(runs: list[dict]) -> dict:
    """Median and spread of runs, and the medians of what they told."""
    seconds = [run["seconds"] for run in runs]
    found = {"seconds": statistics.median(seconds), "spread": [min(seconds), max(seconds)]}
    found["used"] = statistics.median(run["used"] for run in runs)
    if told := runs[-1]["told"]:
        found["by_stage"] = {name: statistics.median(run["told"].get(name, 0.0) for run in runs) for name in told}
    return found


def measure(
    case: Case, path: str, options: argparse.Namespace, restorer: ShotRestorer, limits: Device, dtype: str
) -> list[dict]:
    """One row per stage of a case, with its floor; `failed` in it if memory runs out."""
    window = TIME * (restorer.window - 1) + 1
    clip = Clip(case.frames, case.size, window)
    least = {}
    if options.layers is None or case.model == "tiny":
        least = floors(stages(case.model, clip, DTYPES[dtype], path=path), limits)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder, "film.mp4")
        write_film(film, case)
        for stage, call in calls_of(restorer, case, film, Path(folder), options.stages).items():
            row = {"model": case.model, "size": str(case.size), "frames": case.frames, "stage": stage}
            row |= {"autoencoder": path, "window": window}
            runs: list[dict] = []
            others: list[dict] = []
            try:
                for number in range(options.warmup + options.repeats):
                    if number == options.warmup:
                        forget_peak(restorer.device)
                    runs.append(timed(call, restorer.device))
                    if stage == "all" and options.baseline:
                        others.append(timed(lambda: baseline(options.baseline, film, Path(folder), case), CPU))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                rows.append({**row, "failed": str(error).split("\n")[0]})
                continue
            row |= {**summary(runs[options.warmup :]), "peak_bytes": peak_memory(restorer.device)}
            if stage in least:
                row |= {"floor_seconds": least[stage], "fraction_of_floor": least[stage] / row["used"]}
            if others:
                row["baseline"] = summary(others[options.warmup :])
            rows.append(row)
    return rows


def baseline(command: str, film: Path, folder: Path, case: Case) -> dict:
    """Run somebody else's restoration of a film; seconds by stage if it tells them."""
    places = {"input": film, "output": folder / "baseline.mp4", "frames": case.frames}
    places |= {"height": case.size.height, "width": case.size.width}
    try:
        words = [word.format(**places) for word in shlex.split(command)]
    except (KeyError, IndexError, ValueError) as error:
        fields = ", ".join(f"{{{name}}}" for name in (*places, "weights"))
        raise UserError(f"--baseline {command!r} cannot be filled in ({error}); use {fields}") from error
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"--baseline ended with code {done.returncode}: {done.stderr.strip()[-300:]}")
    try:
        told = json.loads((done.stdout.strip().splitlines() or [""])[-1])
    except ValueError:
        return {}
    return {name: float(value) for name, value in told.items()} if isinstance(told, dict) else {}


def write_film(path: Path, case: Case) -> None:
    """A film of a drawn scene."""
    height, width = (max(16, side // SHRINK // 2 * 2) for side in case.size)
    clip = ProceduralClips().clip(np.random.default_rng(0), case.frames, height, width)
    with VideoWriter(path, width=width, height=height, rate=Fraction(24)) as writer:
        for picture in (clip * 255).astype(np.uint8):
            writer.write(picture)


def report(options: argparse.Namespace, limits: Device, dtype: str, rows: list[dict]) -> dict:
    """Measurements with what is needed to repeat them."""
    hardware = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    hardware |= {"load": os.getloadavg() if hasattr(os, "getloadavg") else None, "cuda": torch.version.cuda}
    return {
        "command": shlex.join(["python", "scripts/bench_infer.py", *sys.argv[1:]]),
        "commit": commit(),
        "hardware": hardware,
        "versions": {"seedvr2": seedvr2.__version__, "torch": torch.__version__},
        "device": limits._asdict(),
        "dtype": dtype,
        "weights": "released files" if options.real else "random; tiny: bundled",
        "layers": options.layers,
        "chunk": options.chunk,
        "rows": rows,
    }


def main() -> None:
    """Measure and write the report."""
    options = parser().parse_args()
    check(options)
    limits, dtype = chosen_device(options.device, options.dtype, options.tflops, options.gbs)
    device = pick_device(None if options.device == "auto" else options.device)
    if device.type == "cpu":
        give_back_at_once()  # as infer does, or what one run freed counts as memory of the next
    output = options.output or report_path("infer", limits.name)
    rows, asked, ways = [], options.baseline, ways_of(device)
    for model in options.models:
        restorer = restorer_of(model, options, device, DTYPES[dtype])
        cases = [Case(model, size, frames) for size in options.sizes for frames in options.frames]
        with tempfile.TemporaryDirectory() as folder:
            if "{weights}" in (asked or ""):
                weights = shlex.quote(str(weights_of(model, options, restorer, Path(folder))))
                options.baseline = asked.replace("{weights}", weights)
            for case, path in itertools.product(cases, options.paths):
                restorer.codec.vae = on_path(path, model, restorer.codec.vae, ways)
                rows += measure(case, path, options, restorer, limits, dtype)
                for row in rows[-len(options.stages) :]:
                    print(json.dumps(row), flush=True)
                found = {**report(options, limits, dtype, rows), "convolutions": ways}
                write_json(output, found)  # now: a long run may not see its end
        del restorer
    if options.plot:
        found["scaling"] = report_scaling(rows, options.plot)
        print("\n".join(found["scaling"]))
        write_json(output, found)
    print(output)


def parser() -> Parser:
    """The command line's arguments."""
    result = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = result.add_argument
    add("--models", nargs="+", choices=MODELS, default=["3b"])
    add("--sizes", nargs="+", type=parse_size, default=[Size(720, 1280), Size(1080, 1920), Size(1440, 2560)])
    add("--frames", nargs="+", type=int, default=[1, 21, 101])
    add("--stages", nargs="+", choices=STAGES, default=STAGES)
    add("--paths", nargs="+", choices=PATHS, default=PATHS, help="of the autoencoder")
    add("--device", default="auto", help="cpu, cuda, ... (default: a GPU if there is one)")
    add("--dtype", choices=tuple(DTYPES), help="default: as infer chooses")
    add("--window", type=int, help="frames per call of the generator, 4k + 1 (default: as infer)")
    add("--chunk", type=int, default=1, help="latent frames per call of the autoencoder")
    add("--layers", type=int, help="of the random generator, to try things out; without floors")
    add("--real", action="store_true", help="load the released files")
    add("--repeats", type=int, default=5, help="measured runs; the median counts")
    add("--warmup", type=int, default=1, help="runs before them")
    add("--tflops", type=float, help="of the floors, instead of those measured")
    add("--gbs", type=float, help="of the floors, instead of those measured")
    add("--baseline", metavar="COMMAND", help="with {input} {output} {weights} {frames} {height} {width}, beside all")
    add("--plot", type=Path, metavar="FILE.svg", help="draw the scaling")
    add("--output", type=Path, help="default: docs/benchmarks/infer_<device>.json")
    return result


def check(options: argparse.Namespace) -> None:
    """Raise UserError for what cannot be measured."""
    for name in ("repeats", "chunk", "layers"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise UserError(f"--{name} {value} makes no sense; give at least 1")
    if options.window is not None and options.window % 4 != 1:
        raise UserError(f"--window {options.window} is not 4k + 1 frames; use {options.window // 4 * 4 + 1}")
    if bad := [frames for frames in options.frames if frames < 1]:
        raise UserError(f"--frames {bad[0]} makes no sense; give at least 1")
    if options.baseline and "all" not in options.stages:
        raise UserError("--baseline runs beside the stage all; add it to --stages")


if __name__ == "__main__":
    with main_guard("bench_infer"):
        main()
