"""The least time that a restoration can take: FLOPs, bytes that must move, and the floor of each stage on a device.

    python scripts/roofline.py --frames 101 --size 1344x768 --model 3b --device h200
    python scripts/roofline.py --frames 21 --size 1280x720 --model tiny --device cpu

FLOPs are those of matrix products, convolutions and attention, counted on the meta device (1 multiply-add = 2). Bytes:
weights once, and of every such layer what enters and what leaves it, once each; everything else is taken to be fused.
I/O: 8-bit frames in and out over the link between host and device. The floor of a stage is FLOPs / peak or
bytes / bandwidth, whichever is longer. Peak and bandwidth are measured here (on a CPU in processor time over threads,
so that other work does not count), or known, or given.
"""

import argparse
import copy
import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterator, MutableMapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from limits import KNOWN, Device, chosen_device
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from seedvr2 import config
from seedvr2.errors import Parser, UserError, main_guard
from seedvr2.models.vae.autoencoder import SPACE, TIME, VideoVAE
from seedvr2.models.vae.causal import Carry
from seedvr2.models.vae.inference import InferenceVAE
from seedvr2.restore.device import DTYPES
from seedvr2.restore.plan.settings import overlap_of
from seedvr2.restore.resize import Size, parse_size

MODELS = ("tiny", "3b", "7b")
PROMPT = {"tiny": 8, "3b": 58, "7b": 58}  # text tokens of the positive prompt
PATHS = ("plain", "fast")  # of the autoencoder
MULTIPLE = 16  # sides are padded to it
UNBOUNDED = 2**62  # bytes
FRAME_BYTES = 6  # of a pixel, in and out


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
        shared = overlap_of(window)
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


def on_path(path: str, model: str, vae: nn.Module, ways: MutableMapping[str, str] | None = None) -> nn.Module:
    """An autoencoder, plain or fast, as one of `PATHS`; it shares the weights. ways: those of `InferenceVAE`."""
    plain = copy.deepcopy(networks(model, torch.float32)[1])
    plain.encoder, plain.decoder = vae.encoder, vae.decoder
    return plain if path == "plain" else InferenceVAE(plain, ways=ways)


def streamed(call: Callable[[bool, Carry], object], latents: int) -> Work:
    """The work of a clip that passes one latent frame at a time: the third and all later ones need the same.

    call: does it for the first or a later one, with what came before it.
    """
    history = Carry()
    first = [work_of(functools.partial(call, number == 0, history)) for number in range(min(latents, 3))]
    later = max(0, latents - len(first))
    return Work(*(sum(each) + later * each[-1] for each in zip(*first, strict=True)))


def stages(model: str, clip: Clip, dtype: torch.dtype, *, steps: int = 1, path: str = "plain") -> dict[str, Work]:
    """The work of each stage of restoring a clip. path: of the autoencoder, see `PATHS`."""
    generator, vae, text_dim = networks(model, dtype)
    vae = on_path(path, model, vae)
    frames, height, width = clip.padded
    t, h, w = clip.latent

    def empty(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    def generate(count: int) -> object:
        when, prompt = empty(1, dtype=torch.float32), empty(PROMPT[model], text_dim)
        return generator(
            empty(count * h * w, 2 * vae.latent_channels + 1), prompt, [(count, h, w)], [len(prompt)], when
        )

    def encode(frames: int, history: Carry | None = None) -> object:
        return vae.encode(empty(1, 3, frames, height, width), history)

    def decode(count: int, history: Carry | None = None) -> object:
        return vae.decode(empty(1, vae.latent_channels, count, h, w), history)

    calls = [work_of(functools.partial(generate, count)) for count in clip.windows()]
    pixels = clip.frames * clip.size.height * clip.size.width
    if path == "plain":
        around = work_of(lambda: encode(frames)), work_of(lambda: decode(t))
    else:  # whole clips would take minutes to count
        vae.tiling = dataclasses.replace(vae.tiling, workspace=UNBOUNDED)
        entering = streamed(lambda is_first, past: encode(1 if is_first else TIME, past), t)
        around = entering, streamed(lambda _, past: decode(1, past), t)
    return {
        "encode": around[0],
        "generate": Work(*(steps * sum(each) for each in zip(*calls, strict=True))),
        "decode": around[1],
        "I/O": Work(0.0, float(FRAME_BYTES * pixels)),
    }


def floors(work: dict[str, Work], device: Device) -> dict[str, float]:
    """Least seconds of each stage; `all`: of the networks one after the other, beside which frames can move."""
    found = {name: one.floor(device.tflops, device.link if name == "I/O" else device.gbs) for name, one in work.items()}
    return {**found, "all": max(sum(found.values()) - found["I/O"], found["I/O"])}


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
        paths = {path: stages(options.model, clip, DTYPES[dtype], steps=options.steps, path=path) for path in PATHS}
        if options.json:
            told = {path: {name: one._asdict() for name, one in work.items()} for path, work in paths.items()}
            least = {path: floors(work, device) for path, work in paths.items()}
            print(json.dumps({"device": device._asdict(), "dtype": dtype, "work": told, "floor_seconds": least}))
            return
        speeds = f"{device.tflops:.4g} TFLOP/s, {device.gbs:.4g} GB/s, link {device.link:.4g} GB/s"
        print(f"{options.model}, {clip.frames} frames of {clip.size}, {dtype}, on {device.name}: {speeds}")
        for path, work in paths.items():
            print(f"{path + ' autoencoder':20}{'TFLOP':>12}{'GB':>12}{'floor s':>12}")
            whole = Work(*(sum(each) for each in zip(*work.values(), strict=True)))
            for name, one in {**work, "all": whole}.items():
                least = floors(work, device)[name]
                print(f"  {name:18}{one.flops / 1e12:12.4f}{one.bytes / 1e9:12.3f}{least:12.4f}")


if __name__ == "__main__":
    main()
