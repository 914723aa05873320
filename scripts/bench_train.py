"""Measure training steps of one GPU: time, tokens/s, peak memory, and model FLOPs against this machine's own peak.

    python scripts/bench_train.py                      # 3B on a GPU -> docs/benchmarks/train_<gpu>.json
    python scripts/bench_train.py --size debug --device cpu --frames 5 --height 64 --width 64 --compile off

base: the flow-matching step of the generator, with every way to recompute, compiled or not. apt: both updates of
adversarial post-training with a discriminator of the same size, at the longest clip that fits (searched). Weights and
latents are random; optimizer, averages, condition noise and prompts as in training. On a GPU every case runs in a
process of its own.
"""

import argparse
import itertools
import platform
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch
from provenance import report_path
from torch import nn
from torch.distributed.tensor import DTensor

from seedvr2 import config
from seedvr2.data.batch import Batch
from seedvr2.errors import UserError, main_guard
from seedvr2.evaluation.runner import commit
from seedvr2.io.files import write_json
from seedvr2.models.dit import Trunk
from seedvr2.models.patch import PATCH
from seedvr2.parallel.mesh import Parallelism
from seedvr2.parallel.runtime import Runtime
from seedvr2.parallel.shard import parallelize
from seedvr2.randomness import Draws
from seedvr2.training.plan.work import clip_flops
from seedvr2.training.speed import product_rate

SIZES = {
    "3b": ["model=3b", "prompts=released", "vae=released"],
    "7b": ["model=7b", "prompts=released", "vae=released"],
    "tiny": ["model=tiny"],
    "debug": ["model=debug", "vae=debug"],
}
STAGES = ("base", "apt")
LONGEST = 401  # frames that the search goes up to


class Case(NamedTuple):
    """What is measured: one clip per step."""

    stage: str
    size: str
    device: str
    frames: int
    height: int
    width: int
    recompute: str
    compile: bool
    steps: int

    @property
    def latent(self) -> tuple[int, int, int]:
        """Latent size (t, h, w)."""
        return (self.frames - 1) // 4 + 1, self.height // 8, self.width // 8

    @property
    def tokens(self) -> int:
        """Video tokens of the clip."""
        t, h, w = self.latent
        return t * (h // 2) * (w // 2)


class OnDevice:
    """Builds networks with random weights made where they live."""

    def __init__(self, runtime: Runtime, *, half: bool):
        self.runtime, self.half, self.device, self.average = runtime, half, runtime.device, runtime.average

    def __call__(self, name, recipe, weights=None, *, trainable=True, start=None) -> nn.Module:
        """As `ModelBuilder`, but files and starts are ignored."""
        with torch.device("meta"):
            network = recipe().requires_grad_(trainable)
        if any(isinstance(module, Trunk) for module in network.modules()):
            parallelize(network, self.runtime.mesh, half=self.half)
        network.to_empty(device=self.device)
        with torch.no_grad():
            for parameter in network.parameters():
                (parameter.to_local() if isinstance(parameter, DTensor) else parameter).normal_(std=0.02)
        return network.train(trainable)


class Anywhere:
    """Says that every file exists; nobody reads one here."""

    def find(self, *names: str) -> Path:
        """Some path."""
        return Path(names[0])

    def require(self, *names: str, purpose: str) -> Path:
        """Some path."""
        return Path(names[0])


def settings(size: str) -> dict:
    """The training config with the stages that are measured."""
    stages = [f"+stage@stages.{name}={name}" for name in STAGES]
    return config.plain(config.load("train", [*stages, *SIZES[size], "run.dir=unused"]))


def measure(case: Case) -> dict:
    """Median time and peak memory of a case's steps; `failed` instead if it does not fit."""
    cuda = case.device == "cuda"
    runtime = Runtime.start(Parallelism(recompute=case.recompute, compile=case.compile), cpu=not cuda)
    try:
        recipe = config.build(settings(case.size)["stages"][case.stage]["objective"], "objective")
        objective = recipe(build=OnDevice(runtime, half=cuda), weights=Anywhere(), iterations=1000)
        channels = objective.generator.vid_out.proj.out_features // PATCH**2
        hq, lq = (torch.randn(*case.latent, channels, device=runtime.device) for _ in range(2))
        seconds = []
        for step in range(2 + case.steps):  # two to warm up
            if step == 2 and cuda:
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            with torch.autocast(case.device, torch.bfloat16, enabled=cuda):
                objective.step([Batch([hq], [lq], [Draws(0, "bench", step, 0)])])
            if cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    except torch.cuda.OutOfMemoryError:
        return {"failed": "out of memory"}
    finally:
        runtime.stop()
    median = statistics.median(seconds[2:])
    peak = torch.cuda.max_memory_allocated() / 2**30 if cuda else None
    return {"seconds": median, "tokens_per_second": case.tokens / median, "peak_memory_gib": peak}


def step_flops(case: Case) -> float:
    """FLOPs that a step needs: nothing that recomputation repeats."""
    flops = clip_flops(config.build(settings(case.size)["stages"][case.stage], "stage")[0])
    t, h, w = case.latent
    return flops((t, h // 2, w // 2))


def apart(function: Callable, case: Case):
    """The function's result in a process of its own: no memory, and no compiled code, is left of earlier cases."""
    if case.device == "cpu":
        return function(case)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, case).result()


def longest(case: Case) -> Case | None:
    """The case with the longest clip of 4k + 1 frames that fits, None if an image does not."""
    fits, too_long = -1, (LONGEST - 1) // 4 + 1
    while too_long - fits > 1:
        k = (fits + too_long) // 2
        done = apart(measure, case._replace(frames=4 * k + 1, steps=1))
        print(f"{case.stage}: {4 * k + 1} frames {'do not fit' if 'failed' in done else 'fit'}", flush=True)
        fits, too_long = (fits, k) if "failed" in done else (k, too_long)
    return case._replace(frames=4 * fits + 1) if fits >= 0 else None


def cases(options: argparse.Namespace) -> list[Case]:
    """What the options ask for."""
    fixed = options.size, options.device
    size = options.height, options.width
    compiled = [choice == "on" for choice in options.compile]
    found = []
    if "base" in options.stages:
        ways = itertools.product(options.frames, options.recompute, compiled)
        found += [Case("base", *fixed, frames, *size, *way, options.steps) for frames, *way in ways]
    if "apt" in options.stages:
        first = Case("apt", *fixed, options.frames[0], *size, options.recompute[-1], compiled[0], options.steps)
        found += [first] if options.device == "cpu" else [case for case in [longest(first)] if case]
    return found


def row(case: Case, peak: float) -> dict:
    """A case, its measurements and its model FLOPs."""
    done = apart(measure, case)
    found = {**case._asdict(), "tokens": case.tokens, **done}
    if "failed" not in done:
        flops = step_flops(case)
        found |= {"model_tflops": flops / 1e12, "mfu": flops / done["seconds"] / peak}
    return found


def report(options: argparse.Namespace, peak: float, rows: list[dict]) -> dict:
    """Measurements with what is needed to repeat them."""
    hardware = {"machine": platform.machine(), "threads": torch.get_num_threads(), "cuda": torch.version.cuda}
    if options.device == "cuda":
        facts = torch.cuda.get_device_properties(0)
        hardware |= {"gpu": facts.name, "memory_gib": facts.total_memory / 2**30}
    return {
        "command": " ".join(["python", "scripts/bench_train.py", *sys.argv[1:]]),
        "commit": commit(),
        "hardware": hardware,
        "versions": {name: version(name) for name in ("seedvr2", "torch")},
        "matmul_tflops": peak / 1e12,
        "rows": rows,
    }


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="3b")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--frames", nargs="+", type=int, default=[21, 49], help="4k + 1")
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--width", type=int, default=1280)
    recompute = ["none", "full", "selective"]
    parser.add_argument("--recompute", nargs="+", choices=recompute, default=recompute, help="apt takes the last one")
    parser.add_argument("--compile", nargs="+", choices=["off", "on"], default=["off", "on"], help="apt: the first one")
    parser.add_argument("--steps", type=int, default=5, help="measured steps of a case; the median counts")
    parser.add_argument("--output", type=Path, help="default: docs/benchmarks/train_<gpu>.json")
    options = parser.parse_args()
    with main_guard("bench_train"):
        check(options)
        n, dtype = (8192, torch.bfloat16) if options.device == "cuda" else (512, torch.float32)
        peak = 1e12 * product_rate(torch.device(options.device), n, dtype)
        rows = []
        for case in cases(options):
            rows.append(row(case, peak))
            print({key: rows[-1][key] for key in rows[-1] if key not in ("size", "device", "steps")}, flush=True)
        name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
        path = options.output or report_path("train", name)
        write_json(path, report(options, peak, rows))
        print(path)


def check(options: argparse.Namespace) -> None:
    """Raise UserError for what cannot be measured."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device is cuda, but no CUDA device is available: use --device cpu --size debug")
    if bad := [frames for frames in options.frames if frames % 4 != 1]:
        raise UserError(f"--frames {bad[0]} is not 4k + 1: use {max(1, bad[0] // 4 * 4 + 1)}")
    if options.height % 16 or options.width % 16:
        raise UserError(f"--height {options.height} and --width {options.width} must be multiples of 16")


if __name__ == "__main__":
    main()
