"""The least time that a restoration can take: FLOPs, bytes that must move, and the floor of each stage on a device.

    python scripts/roofline.py --frames 101 --size 1344x768 --model 3b --device h200
    python scripts/roofline.py --frames 21 --size 1280x720 --model tiny --device cpu

FLOPs are those of matrix products, convolutions and attention, counted on the meta device (1 multiply-add = 2). Bytes:
weights once, and of every such layer what enters and what leaves it, once each; everything else is taken to be fused.
I/O: 8-bit frames in and out over the link between host and device. The floor of a stage is FLOPs / peak or
bytes / bandwidth, whichever is longer. Peak and bandwidth are measured here, or known, or given.
"""

import argparse
import functools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from seedvr2 import config
from seedvr2.errors import Parser, UserError, main_guard
from seedvr2.models.vae.autoencoder import SPACE, TIME, VideoVAE
from seedvr2.restore.device import DTYPES, pick_device, pick_dtype
from seedvr2.restore.resize import Size, parse_size
from seedvr2.training.speed import product_rate

MODELS = ("tiny", "3b", "7b")
PROMPT = {"tiny": 8, "3b": 58, "7b": 58}  # text tokens of the positive prompt
MULTIPLE = 16  # sides are padded to it
FRAME_BYTES = 6  # of a pixel, in and out


class Device(NamedTuple):
    """What a device can do: dense TFLOP/s, GB/s of its memory, and GB/s between host and device."""

    name: str
    tflops: float
    gbs: float
    link: float


KNOWN = {"h200": Device("H200", 790.0, 4800.0, 55.0)}  # bf16 as measured by large products; data sheet; PCIe 5.0 x16


class Work(NamedTuple):
    """What a stage has to do."""

    flops: float
    bytes: float

    def floor(self, tflops: float, gbs: float) -> float:
        """Least seconds."""
        return max(self.flops / (tflops * 1e12), self.bytes / (gbs * 1e9))


class Clip(NamedTuple):
    """What is restored. frames: of the clip; window: frames of a call of the generator, None for all."""

    frames: int
    size: Size
    window: int | None = None

    @property
    def padded(self) -> tuple[int, int, int]:
        """Frames and sides as the networks see them: 4k + 1, multiples of 16."""
        sides = (math.ceil(side / MULTIPLE) * MULTIPLE for side in self.size)
        return math.ceil((self.frames - 1) / TIME) * TIME + 1, *sides

    @property
    def latent(self) -> tuple[int, int, int]:
        """Latent size (t, h, w)."""
        frames, height, width = self.padded
        return (frames - 1) // TIME + 1, height // SPACE, width // SPACE

    def windows(self) -> Iterator[int]:
        """Latent frames of each call of the generator; neighbours share one."""
        left = self.latent[0]
        window = left if self.window is None else (self.window - 1) // TIME + 1
        shared = min(1, window - 1)
        yield min(left, window)
        left -= window
        while left > 0:
            yield min(left, window - shared) + shared
            left -= window - shared


class Products(TorchDispatchMode):
    """Counts FLOPs of products, and the bytes that enter and leave them, every tensor once each way."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes = 0.0
        self._read: dict[int, object] = {}  # keeps what it has seen, so that no address is used twice
        self._written: dict[int, object] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.add(count(*args, **(kwargs or {}), out_val=out), tree_leaves(args), tree_leaves(out))
        return out

    def add(self, flops: float, entering: list, leaving: list) -> None:
        """Count one layer."""
        self.flops += flops
        for tensors, seen in ((entering, self._read), (leaving, self._written)):
            for tensor in tensors:
                if isinstance(tensor, Tensor):
                    storage = tensor.untyped_storage()
                    self.bytes += 0 if storage._cdata in seen else tensor.nbytes
                    seen[storage._cdata] = storage


class Attention(TorchFunctionMode):
    """Hands attention to `Products`, which would not see it on the meta device."""

    def __init__(self, products: Products):
        super().__init__()
        self.products = products

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        q, k, v = args
        out = torch.empty_like(q)
        self.products.add(4.0 * q.numel() * k.shape[-2], [q, k, v], [out])
        return out


@torch.no_grad()
def work_of(call: Callable[[], object]) -> Work:
    """What a call on the meta device has to do."""
    products = Products()
    with Attention(products), products:
        call()
    return Work(products.flops, products.bytes)


@functools.cache
def networks(model: str, dtype: torch.dtype) -> tuple[nn.Module, VideoVAE, int]:
    """Generator and autoencoder of a model on the meta device, and the width of its text."""
    own = [] if model == "tiny" else ["vae=released", "prompts=released"]
    settings = config.plain(config.load("train", [f"model={model}", *own, "run.dir=unused"]), missing="unused")
    with torch.device("meta"):
        generator = config.build(settings["model"], "model")().to(dtype).eval()
        vae = config.build(settings["vae"], "vae")().to(dtype).eval()
    return generator, vae, generator.trunk.txt_in.in_features


def stages(model: str, clip: Clip, dtype: torch.dtype, *, steps: int = 1) -> dict[str, Work]:
    """The work of each stage of restoring a clip."""
    generator, vae, text_dim = networks(model, dtype)
    frames, height, width = clip.padded
    t, h, w = clip.latent

    def empty(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    def generate(count: int) -> object:
        when, prompt = empty(1, dtype=torch.float32), empty(PROMPT[model], text_dim)
        return generator(empty(count * h * w, 33), prompt, [(count, h, w)], [len(prompt)], when)

    calls = [work_of(functools.partial(generate, count)) for count in clip.windows()]
    pixels = clip.frames * clip.size.height * clip.size.width
    return {
        "encode": work_of(lambda: vae.encode(empty(1, 3, frames, height, width))),
        "generate": Work(*(steps * sum(each) for each in zip(*calls, strict=True))),
        "decode": work_of(lambda: vae.decode(empty(1, vae.latent_channels, t, h, w))),
        "I/O": Work(0.0, float(FRAME_BYTES * pixels)),
    }


def floors(work: dict[str, Work], device: Device) -> dict[str, float]:
    """Least seconds of each stage; `all`: of the networks one after the other, beside which frames can move."""
    found = {name: one.floor(device.tflops, device.link if name == "I/O" else device.gbs) for name, one in work.items()}
    return {**found, "all": max(sum(found.values()) - found["I/O"], found["I/O"])}


def measured(device: torch.device, dtype: torch.dtype) -> Device:
    """What a device reaches in large matrix products and copies."""
    is_cpu = device.type == "cpu"
    name = "CPU" if is_cpu else torch.get_device_module(device).get_device_name(device)
    tflops = max(product_rate(device, 1024 if is_cpu else 8192, dtype) for _ in range(3))
    source = torch.ones(2**28 if is_cpu else 2**30, dtype=torch.uint8, device=device)
    gbs = 2 * _copies(source, torch.empty_like(source))  # every byte is read and written
    if is_cpu:
        return Device(name, tflops, gbs, gbs)
    return Device(name, tflops, gbs, _copies(torch.empty(2**28, dtype=torch.uint8, pin_memory=True), source[: 2**28]))


def _copies(source: Tensor, target: Tensor) -> float:
    # GB/s of copies
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        target.copy_(source, non_blocking=True)
        if target.device.type != "cpu":
            torch.accelerator.synchronize(target.device)
        seconds.append(time.perf_counter() - start)
    return source.nbytes / statistics.median(seconds[2:]) / 1e9


def chosen_device(name: str, dtype: str | None, tflops: float | None, gbs: float | None) -> tuple[Device, str]:
    """The device that a floor is for, and a key of `DTYPES`; given numbers take the place of measured ones."""
    if name in KNOWN:
        found, dtype = KNOWN[name], dtype or "bf16"
    else:
        place = pick_device(None if name == "auto" else name)
        dtype = pick_dtype(dtype, place)
        given = tflops is not None and gbs is not None
        found = Device(str(place), tflops, gbs, gbs) if given else measured(place, DTYPES[dtype])
    return found._replace(tflops=tflops or found.tflops, gbs=gbs or found.gbs), dtype


def main() -> None:
    """Count and print."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=101)
    parser.add_argument("--size", default="1280x720", help="of the output, WIDTHxHEIGHT")
    parser.add_argument("--model", choices=MODELS, default="3b")
    parser.add_argument("--steps", type=int, default=1, help="calls of the generator per window")
    parser.add_argument("--window", type=int, help="frames per call of the generator, 4k + 1 (default: the whole clip)")
    parser.add_argument("--device", default="auto", help=f"auto, cpu, cuda, ..., or {', '.join(KNOWN)} (default auto)")
    parser.add_argument("--dtype", choices=tuple(DTYPES), help="default: as infer chooses")
    parser.add_argument("--tflops", type=float, help="dense TFLOP/s, instead of those measured")
    parser.add_argument("--gbs", type=float, help="GB/s of the device's memory, instead of those measured")
    parser.add_argument("--json", action="store_true", help="print JSON")
    with main_guard("roofline"):
        options = parser.parse_args()
        for name in ("frames", "steps", "tflops", "gbs", "window"):
            if (value := getattr(options, name)) is not None and value <= 0:
                raise UserError(f"--{name} {value} makes no sense; give a number above 0")
        if options.window is not None and options.window % TIME != 1:
            raise UserError(f"--window {options.window} is not 4k + 1 frames; use {options.window // TIME * TIME + 1}")
        device, dtype = chosen_device(options.device, options.dtype, options.tflops, options.gbs)
        clip = Clip(options.frames, parse_size(options.size), options.window)
        work = stages(options.model, clip, DTYPES[dtype], steps=options.steps)
        found = floors(work, device)
        if options.json:
            rows = {name: {**work[name]._asdict(), "seconds": found[name]} for name in work}
            json.dump({"device": device._asdict(), "dtype": dtype, "stages": rows, "seconds": found["all"]}, sys.stdout)
            print()
            return
        speeds = f"{device.tflops:.4g} TFLOP/s, {device.gbs:.4g} GB/s, link {device.link:.4g} GB/s"
        print(f"{options.model}, {clip.frames} frames of {clip.size}, {dtype}, on {device.name}: {speeds}")
        print(f"{'stage':10}{'TFLOP':>12}{'GB':>12}{'floor s':>12}")
        for name, one in work.items():
            print(f"{name:10}{one.flops / 1e12:12.4f}{one.bytes / 1e9:12.3f}{found[name]:12.4f}")
        total = Work(*(sum(each) for each in zip(*work.values(), strict=True)))
        print(f"{'all':10}{total.flops / 1e12:12.4f}{total.bytes / 1e9:12.3f}{found['all']:12.4f}")


if __name__ == "__main__":
    main()
