"""Measure degraded pairs per second and core, against a plain per-frame pipeline with the same parameters.

    python scripts/bench_data.py                              # -> docs/benchmarks/data_<cpu>.json
    python scripts/bench_data.py --root films --samples 50
    python scripts/bench_data.py --device cuda                # operations on a GPU, codecs on the CPU

A pair is a clip cut from an H.264 file and its low-quality version at the same size. Without --root the files are made
of drawn scenes, 1280x720 for clips of 480x960. The plain pipeline is `plain_degradation.py`; it gets the cut and all
parameters that ours has drawn. Both have one thread and a process of their own, ours set up as a loader's worker; they
take turns sample by sample. A third process runs the plain pipeline with the memory setting of ours, to tell how much
that setting does.
"""

import argparse
import copy
import functools
import json
import platform
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from plain_degradation import Cut, plain_pair
from provenance import processor, report_path
from torch import Tensor

from seedvr2 import config
from seedvr2.data import folder, pairs, source
from seedvr2.data.degradation.draw import Operation, to_bytes
from seedvr2.data.degradation.order import RandomOrder
from seedvr2.data.degradation.pipeline import Degradation
from seedvr2.data.folder import FolderClips
from seedvr2.data.memory import keep_freed_memory
from seedvr2.data.pairs import Pairs
from seedvr2.data.procedural import ProceduralClips
from seedvr2.data.shapes import Shape
from seedvr2.data.view import shrink_factor
from seedvr2.errors import Parser, UserError, main_guard
from seedvr2.evaluation.runner import commit
from seedvr2.io.files import write_json
from seedvr2.randomness import numpy_generator

PIPELINES = {"ours": ("ours", True), "plain": ("plain", False), "plain_keeping_memory": ("plain", True)}


class Ours:
    """Our path with a clock at every part, and a note of the cut that it draws."""

    def __init__(self, options: argparse.Namespace):
        self.parts: dict[str, float] = defaultdict(float)
        self.cut: dict = {}
        self.device = torch.device(options.device)
        degradation = build_preset(options.preset)
        self.shape = Shape(options.frames, options.height, options.width)
        self.pairs = Pairs(FolderClips(options.root), degradation, [self.shape])
        folder.window_of = self._part("decode", folder.window_of, self._note_window)
        source.random_crop = self._part("crop", source.random_crop, self._note_crop)
        source.Cutter._flipped = self._part("flip", source.Cutter._flipped, self._note_flips)
        pairs.upsampled = self._part("upsampling", pairs.upsampled)
        pairs.to_tensor = self._part("tensor", pairs.to_tensor)
        for kind in {type(operation) for operation in _flat(degradation.ops)}:
            kind.__call__ = self._part(kind.__name__, kind.__call__)

    def sample(self, number: int) -> tuple[Tensor, Tensor, dict]:
        """Both clips of a pair, and what it takes to make them again."""
        key, record = ("bench", number), []
        if self.device.type == "cpu":
            hq, lq = self.pairs.draw(key, record=record)
        else:
            clean = self.pairs.source.clip(numpy_generator(*key, "clean"), *self.shape.size)
            clean = torch.from_numpy(clean).to(self.device)
            degraded = self.pairs.degradation(clean, numpy_generator(*key, "degradation"), record=record)
            hq, lq = (clip.permute(0, 3, 1, 2).contiguous() * 2 - 1 for clip in (clean, degraded))
            lq = pairs.upsampled(lq, hq.shape[2:])
        self._wait()
        return hq, lq, {"cut": Cut(**self.cut), "record": record}

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _part(self, name: str, function: Callable, note: Callable | None = None) -> Callable:
        @functools.wraps(function)
        def timed(*arguments, **options):
            if note:
                note(*arguments, **options)
            self._wait()
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self._wait()
                self.parts[name] += time.perf_counter() - start

        return timed

    def _note_window(self, path: Path, start: int, count: int) -> None:
        self.cut |= {"path": str(path), "start": start, "count": count}

    def _note_crop(self, rng: np.random.Generator, clip: np.ndarray, view: tuple[int, int], *, shrink) -> None:
        # The same draws as in `random_crop`; the clean clips are compared, so that a change there is noticed.
        rng, size = copy.deepcopy(rng), clip.shape[1:3]
        factor = shrink_factor(rng, shrink, size=size, view=view)
        height, width = (min(round(side * factor), full) for side, full in zip(view, size, strict=True))
        top, left = (int(rng.integers(full - side + 1)) for full, side in zip(size, (height, width), strict=True))
        self.cut |= {"top": top, "left": left, "height": height, "width": width, "size": tuple(view)}

    def _note_flips(self, cutter: source.Cutter, rng: np.random.Generator, _clip: np.ndarray) -> None:
        rng = copy.deepcopy(rng)
        self.cut["flips"] = tuple(rng.random() < probability for probability in cutter.flips)


def build_preset(name: str) -> Degradation:
    """The degradation of a preset."""
    return config.build(config.plain(config.load(f"degradation/{name}"))["degradation"], "degradation")


def _flat(operations: Sequence[Operation]) -> list[Operation]:
    groups = [operation.groups if isinstance(operation, RandomOrder) else [[operation]] for operation in operations]
    return [operation for group in groups for member in group for operation in member]


def serve(line: Connection, name: str, options: argparse.Namespace) -> None:
    """Make pairs on request, in a process of its own; the first one only warms up."""
    _, keeps_memory = PIPELINES[name]
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if keeps_memory:
        keep_freed_memory()
    ours = Ours(options) if name == "ours" else None
    rng = np.random.default_rng(0)
    while (request := line.recv()) is not None:
        number, recipe = request
        if ours:
            ours.parts.clear()
        start, start_cpu = time.perf_counter(), time.process_time()
        if ours:
            hq, lq, recipe = ours.sample(number)
        else:
            hq, lq = plain_pair(recipe["cut"], recipe["record"], rng)
        seconds = {"wall": time.perf_counter() - start, "cpu": time.process_time() - start_cpu}
        error = float((hq - lq).square().mean())
        facts = {"hq_mean": float(hq.mean()), "lq_mean": float(lq.mean()), "psnr": 10 * np.log10(4 / max(error, 1e-9))}
        line.send((seconds, facts, dict(ours.parts) if ours else {}, recipe))


def films(root: Path, size: tuple[int, int], frames: int, count: int = 4) -> None:
    """H.264 files of drawn scenes."""
    height, width = size
    for scene in range(count):
        clip = ProceduralClips(1, first=scene).clip(np.random.default_rng(scene), frames, height, width)
        with av.open(str(root / f"{scene}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(25))
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            stream.codec_context.options = {"crf": "18", "g": "50"}  # a keyframe every two seconds, as streams have
            for frame in clip:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(to_bytes(frame), format="rgb24")))
            container.mux(stream.encode(None))


def measure(options: argparse.Namespace) -> list[dict]:
    """One row per sample: seconds of every pipeline, the parts of ours, and what came out."""
    context = get_context("spawn")
    lines, processes, rows = {}, [], []
    for name in PIPELINES:
        lines[name], far = context.Pipe()
        processes.append(context.Process(target=serve, args=(far, name, options), daemon=True))
        processes[-1].start()
        far.close()
    for number in range(-1, options.samples):
        recipe, row = None, {}
        for name, line in lines.items():
            line.send((number, recipe))
            seconds, facts, parts, recipe = line.recv()
            row[name] = {"seconds": seconds, **facts} | ({"parts": parts} if parts else {})
        means = [found["hq_mean"] for found in row.values()]
        assert max(means) - min(means) < 1e-3, f"the plain pipeline cuts another clip than ours: {row}"
        if number >= 0:
            rows.append(row)
            print(number, {name: round(found["seconds"]["wall"], 3) for name, found in row.items()}, flush=True)
    for line in lines.values():
        line.send(None)
    for process in processes:
        process.join()
    return rows


def summary(rows: Sequence[dict], clock: str) -> dict:
    """Medians, mean rates and ratios by one clock."""
    found = {}
    seconds = {name: [row[name]["seconds"][clock] for row in rows] for name in PIPELINES}
    for name, values in seconds.items():
        found[name] = {
            "median_seconds": statistics.median(values),
            "pairs_per_second": len(values) / sum(values),
            "median_psnr": statistics.median(row[name]["psnr"] for row in rows),
        }
        if name != "ours":
            ratios = sorted(slow / fast for slow, fast in zip(values, seconds["ours"], strict=True))
            found[name] |= {
                "ratio_of_rates": sum(values) / sum(seconds["ours"]),
                "ratio_median": statistics.median(ratios),
                "ratio_quartiles": [float(np.quantile(ratios, share)) for share in (0.25, 0.75)],
            }
    return found


def report(options: argparse.Namespace, rows: Sequence[dict]) -> dict:
    """Measurements with what is needed to repeat them."""
    names = sorted({name for row in rows for name in row["ours"]["parts"]})
    parts = {name: statistics.fmean(row["ours"]["parts"].get(name, 0.0) for row in rows) for name in names}
    parts["everything else"] = statistics.fmean(row["ours"]["seconds"]["wall"] for row in rows) - sum(parts.values())
    hardware = {"machine": platform.machine(), "cpu": processor(), "threads": 1, "device": options.device}
    if options.device == "cuda":
        hardware["gpu"] = torch.cuda.get_device_name()
    return {
        "command": " ".join(["python", "scripts/bench_data.py", *sys.argv[1:]]),
        "commit": commit(),
        "hardware": hardware,
        "versions": {name: version(name) for name in ("seedvr2", "torch", "numpy", "opencv-python-headless", "av")},
        "clip": [options.frames, options.height, options.width],
        "preset": options.preset,
        "samples": len(rows),
        "wall": summary(rows, "wall"),
        "cpu": summary(rows, "cpu"),
        "our_mean_seconds": dict(sorted(parts.items(), key=lambda item: -item[1])),
        "rows": rows,
    }


def main() -> None:
    """Measure and write the report."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of H.264 files; default: drawn scenes in a temporary folder")
    parser.add_argument("--preset", default="uav", help="of configs/degradation")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of our operations")
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=960)
    parser.add_argument("--output", type=Path, help="default: docs/benchmarks/data_<cpu or gpu>.json")
    with main_guard("bench_data"), tempfile.TemporaryDirectory() as folder_of_films:
        options = parser.parse_args()
        if options.device == "cuda" and not torch.cuda.is_available():
            raise UserError("--device is cuda, but no CUDA device is available: use --device cpu")
        if min(options.samples, options.frames, options.height, options.width) < 1:
            raise UserError("--samples, --frames, --height and --width must be at least 1; give larger numbers")
        if options.root is None:
            options.root = Path(folder_of_films)
            size = options.height * 3 // 4 * 2, options.width * 2 // 3 * 2
            films(options.root, size, 4 * options.frames)
        found = report(options, measure(options))
        path = options.output or report_path("data", found["hardware"].get("gpu", found["hardware"]["cpu"]))
        write_json(path, found)
        print(json.dumps({name: found[name] for name in ("wall", "cpu", "our_mean_seconds")}, indent=1))
        print(path)


if __name__ == "__main__":
    main()
