"""Measure the inference path of the VAE beside the plain one: time, peak memory, and how far the results differ.

    python scripts/bench_vae.py                             # released size, random weights, 9x256x256, fp32 and bf16
    python scripts/bench_vae.py --vae tiny --frames 5 --height 720 --width 1280
    python scripts/bench_vae.py --workspaces 8 64 --in-flight 1   # memory of strips, in MiB of workspace

All variants run alternately in one process. Times are medians of wall and, on a CPU, processor seconds; memory is the
peak above what was in use before the call. Writes docs/benchmarks/vae_<vae>_<device>.json.
"""

import argparse
import ctypes
import gc
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from provenance import chip, report_path

from seedvr2.evaluation.runner import commit
from seedvr2.io.files import write_json
from seedvr2.models.vae.autoencoder import TIME, VideoVAE
from seedvr2.models.vae.blocks import FrameNorm
from seedvr2.models.vae.causal import Carry, Fresh, History
from seedvr2.models.vae.inference import LADDER, InferenceVAE, Tiling
from seedvr2.models.vae.inference.norm import Source
from seedvr2.restore.device import DTYPES, ways_of
from seedvr2.training.weights import load_network

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "seedvr2" / "assets" / "tiny" / "vae.safetensors"
UNITS = {"wall": "seconds", "processor": "seconds", "peak": "bytes"}
Variants = dict[str, tuple[VideoVAE | InferenceVAE, Tiling | None]]


def main() -> None:
    """Measure what the options ask for."""
    options = arguments()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    torch.backends.cudnn.allow_tf32 = False  # fp32 is measured as such
    path = options.out or report_path(f"vae_{options.vae}", chip(is_gpu=device.type == "cuda"))
    results, ways, kernels = [], {}, {}
    for name in options.dtypes:
        torch.manual_seed(0)
        vae = network(options.vae).to(device, DTYPES[name]).eval().requires_grad_(False)
        start = time.perf_counter()
        fast = InferenceVAE(vae, ways={} if options.measured else ways_of(device))
        folding = time.perf_counter() - start
        variants: Variants = {"plain": (vae, None), "fast": (fast, LADDER[0])}
        for size in options.workspaces:
            tiling = Tiling(workspace=int(size * 2**20), frames=options.in_flight, host=options.host)
            variants[f"{size:g} MiB"] = (fast, tiling)
        for stage in options.stages:
            found = measure(stage, variants, options, device, DTYPES[name])
            results += [
                {"dtype": name, "stage": stage, "variant": variant, **value} for variant, value in found.items()
            ]
            report(results[-len(found) :])
        more = sum(buffer.nbytes for buffer in fast.buffers())
        print(
            f"{name}: weights {sum(p.nbytes for p in vae.parameters()):,} B, folded ones {more:,} B in {folding:.2f} s"
        )
        if fast.ways is not None:
            print("\n".join(f"{key}: {way}" for key, way in fast.ways.items()))
            ways[name] = fast.ways
        if found := norm_silu(device, DTYPES[name]):
            kernels[name] = found
            print(f"{name}: norm and SiLU of 64 MiB in one kernel {found['one']:.6f} s, in two {found['two']:.6f} s")
        told = {**facts(options, device), "convolutions": ways, "norm and SiLU": kernels, "results": results}
        write_json(path, told)  # now: a long run may not see its end


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--vae", choices=("released", "tiny"), default="released", help="released: its size, with random weights")
    add("--frames", type=int, default=9, help="4k + 1 (default 9)")
    add("--height", type=int, default=256)
    add("--width", type=int, default=256)
    add("--chunk", type=int, help="latent frames per call (default: all in one)")
    add("--dtypes", nargs="+", choices=tuple(DTYPES), default=["fp32", "bf16"])
    add("--stages", nargs="+", choices=("encode", "decode"), default=["encode", "decode"])
    add("--repeats", type=int, default=5)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--threads", type=int, default=2)
    add("--measured", action="store_true", help="choose the way of each convolution by a test, and print it")
    add("--workspaces", nargs="+", type=float, default=[], metavar="MIB", help="also with strips of this size")
    add("--in-flight", type=int, help="with strips: frames in flight at full size and rate")
    add("--host", action="store_true", help="with strips: histories in the memory of the host")
    add("--out", type=Path)
    return parser.parse_args()


def network(name: str) -> VideoVAE:
    """The VAE that is measured."""
    if name == "tiny":
        return load_network(TINY)
    vae = VideoVAE()
    with torch.no_grad():
        for upsampler in (layer for block in vae.decoder.up_blocks for layer in block.upsamplers):
            torch.nn.init.kaiming_normal_(upsampler.upscale_conv.weight, nonlinearity="linear")
            torch.nn.init.normal_(upsampler.upscale_conv.bias, std=0.1)
    return vae


def measure(
    stage: str, variants: Variants, options: argparse.Namespace, device: torch.device, dtype: torch.dtype
) -> dict[str, dict]:
    """Medians per variant; differences are those from the first variant."""
    generator = torch.Generator().manual_seed(0)
    height, width, latents = options.height, options.width, (options.frames - 1) // TIME + 1
    if stage == "encode":
        x = torch.rand(1, 3, options.frames, height, width, generator=generator) * 2 - 1
    else:
        channels = variants["plain"][0].latent_channels
        x = torch.randn(1, channels, latents, height // 8, width // 8, generator=generator)
    x = x.to(device, dtype)
    found = {name: {unit: [] for unit in UNITS} for name in variants}
    outputs = {}
    warm_up = int(device.type != "cpu")  # where the first call chooses and compiles
    for _ in range(warm_up + options.repeats):
        for name, (vae, tiling) in variants.items():
            if tiling is not None:
                vae.tiling = tiling
            outputs[name] = timed(partial(run, vae, stage, x, options.chunk), device, found[name])
    reference = outputs["plain"].float()
    result = {}
    for name, values in found.items():
        medians = {f"{key}_{unit}": statistics.median(values[key][warm_up:]) for key, unit in UNITS.items()}
        difference = outputs[name].float() - reference
        error = {
            "max_difference": difference.abs().max().item(),
            "relative": (difference.norm() / reference.norm()).item(),
        }
        result[name] = {**medians, **error}
    return result


def run(vae: VideoVAE | InferenceVAE, stage: str, x: torch.Tensor, chunk: int | None) -> torch.Tensor:
    """What the VAE makes of a clip, `chunk` latent frames at a time."""
    if stage == "decode":
        parts, call = [x] if chunk is None else x.split(chunk, dim=2), vae.decode
    else:
        first = x.shape[2] if chunk is None else TIME * (chunk - 1) + 1
        parts = [x[:, :, :first], *(x[:, :, first:].split(TIME * chunk, dim=2) if first < x.shape[2] else ())]

        def call(part: torch.Tensor, history: History) -> torch.Tensor:
            return vae.encode(part, history).mean

    history = Fresh() if chunk is None else Carry()
    with torch.no_grad():
        return torch.cat([call(part, history) for part in parts], dim=2)


@torch.no_grad()
def norm_silu(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Seconds of norm and SiLU of 64 MiB, as one kernel and as two; nothing on devices without the kernel."""
    frames = torch.rand(4, (1 << 16) // dtype.itemsize, 2, 128, device=device).to(dtype).movedim(-1, 1)
    source, into = Source(frames, FrameNorm(32, 128).to(device)), torch.empty_like(frames)
    if source.fused is None:
        return {}
    kernels, spent = {"one": source.fused, "two": None}, {"one": [], "two": []}
    for _ in range(50):
        for name, source.fused in kernels.items():
            torch.accelerator.synchronize(device)
            start = time.perf_counter()
            source.write(into, 0, 0)
            torch.accelerator.synchronize(device)
            spent[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in spent.items()}


def timed(call: Callable[[], torch.Tensor], device: torch.device, found: dict[str, list[float]]) -> torch.Tensor:
    """What the call returns; notes its times and its peak memory."""
    gc.collect()
    idle = forget_peak(device)
    wall, processor = time.perf_counter(), time.process_time()
    output = call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    found["processor"].append(time.process_time() - processor)
    found["wall"].append(time.perf_counter() - wall)
    found["peak"].append(peak(device) - idle)
    return output.cpu()


def forget_peak(device: torch.device) -> int:
    """The bytes in use, from which peaks count from now on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def peak(device: torch.device) -> int:
    """The most bytes in use since the peak was forgotten."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else status("VmHWM")


def status(name: str) -> int:
    """A value in bytes of this process, from the kernel."""
    return 1024 * int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def report(rows: list[dict]) -> None:
    """Print the variants of one stage beside the plain one."""
    plain = rows[0]
    for row in rows:
        wall, processor = (plain[f"{unit}_seconds"] / row[f"{unit}_seconds"] for unit in ("wall", "processor"))
        print(
            f"{row['dtype']} {row['stage']} {row['variant']:>8}: {row['wall_seconds']:.3f} s ({wall:.2f}x),"
            f" processor {row['processor_seconds']:.3f} s ({processor:.2f}x), peak {row['peak_bytes'] / 2**20:.0f} MiB,"
            f" differs by {row['max_difference']:.1e}, relative {row['relative']:.1e}",
            flush=True,
        )


def facts(options: argparse.Namespace, device: torch.device) -> dict:
    """What the results belong to."""
    return {
        "command": " ".join(["python", "scripts/bench_vae.py", *sys.argv[1:]]),
        "commit": commit(),
        "hardware": {
            "machine": platform.machine(),
            "device": chip(is_gpu=device.type == "cuda"),
            "threads": options.threads,
        },
        "versions": {name: version(name) for name in ("seedvr2", "torch")},
        "clip": [options.frames, options.height, options.width],
        "repeats": options.repeats,
    }


if __name__ == "__main__":
    main()
