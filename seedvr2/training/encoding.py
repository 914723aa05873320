"""Fill a latent cache: draw clips, degrade each several times, encode all of it with the frozen VAE, shard by shard."""

import itertools
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from seedvr2.data.loader import Failures, lists_of_samples
from seedvr2.data.pairs import Pairs
from seedvr2.data.shapes import Shape
from seedvr2.errors import UserError
from seedvr2.models.codec import LatentCodec
from seedvr2.models.vae.autoencoder import SPACE, TIME, Posterior
from seedvr2.objectives.objective import Recipe
from seedvr2.parallel.runtime import Runtime
from seedvr2.training.builder import ModelBuilder
from seedvr2.training.feed import CHUNK
from seedvr2.training.latent_cache import LatentCache, Sample, name_of, origin

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
EVERY = 30.0  # seconds between lines of progress


class Request(NamedTuple):
    """One sample of a cache."""

    number: int
    shape: Shape


class Drawer:
    """Draws the samples of a cache; their keys do not depend on who draws them."""

    def __init__(self, pairs: Pairs, *, seed: int, draws: int):
        self.pairs, self.seed, self.draws = pairs, seed, draws

    def draw(self, request: Request) -> tuple[Tensor, list[Tensor], list[list[dict]]]:
        """A clean clip, degraded versions of it, and what was drawn for each; see `Pairs.draws`."""
        key = (self.seed, "cache", *request.shape.size, request.number)
        return self.pairs.draws(key, request.shape, self.draws)


def encode_shards(
    *,
    data: Callable[[], Pairs],
    vae: Recipe,
    weights: str,
    output: str,
    samples: int | Sequence[int],
    draws: int = 2,
    per_shard: int = 32,
    seed: int = 0,
    dtype: Literal["bf16", "fp32"] = "bf16",
    chunk: int = CHUNK,
    workers: int = 0,
    failures: float = 0.01,
    runtime: Runtime,
    rank: int = 0,
    world: int = 1,
    say: Callable[[str], None] = print,
) -> LatentCache:
    """Write the shards of a cache that are not there yet; each of `world` processes takes every `world`-th.

    data: recipe of the pairs, whose shapes are cached. weights: file of the VAE. samples: clips of each shape, or one
    number for every shape of the data. draws: degraded versions of each. dtype: of what is stored. chunk, workers,
    failures: see `LatentFeed`. Raises UserError for numbers below 1 or not one for every shape, another cache in
    `output`, and a disk that refuses.
    """
    counts = list(samples) if isinstance(samples, Sequence) else [samples]
    for name, values in {"samples": counts, "draws": [draws], "per_shard": [per_shard]}.items():
        for value in values:
            if not isinstance(value, int) or value < 1:
                raise UserError(f"{name} is {value!r}: use a whole number of at least 1")
    pairs = data()
    sizes = list(dict.fromkeys(shape.size for shape in pairs.shapes))
    if isinstance(samples, Sequence):
        if len(counts) != len(sizes):
            raise UserError(
                f"samples has {len(counts)} numbers for {len(sizes)} shapes "
                f"({', '.join(map(name_of, sizes))}): give one for each, or one number for all"
            )
        samples = dict(zip(map(name_of, sizes), counts, strict=True))
    path = Path(weights)
    facts = {"samples": samples, "draws": draws, "per_shard": per_shard, "seed": seed, "dtype": dtype}
    network = ModelBuilder(runtime, seed, "cache")("vae", vae, path, trainable=False)
    cache = LatentCache.create(output, {**facts, **origin(data, path)})  # when nothing can be wrong any more
    codec = LatentCodec(network, chunk=chunk)
    shapes = {size: next(shape for shape in pairs.shapes if shape.size == size) for size in sizes}
    tasks = [(size, number, shard) for size in sizes for number, shard in enumerate(cache.shards(size))]
    mine = [task for task in tasks[rank::world] if not task[2].is_file()]
    clip = {size: bytes_of(size, network.latent_channels, versions=1 + draws, dtype=DTYPES[dtype]) for size in sizes}
    space = sum(clip[size] * len(cache.numbers(size, number)) for size, number, _ in mine)
    place = f" on rank 0 of {world}" if world > 1 else ""
    say(f"{len(mine)} of {len(tasks[rank::world])} shards to encode{place}, {space / 1e9:.1f} GB")
    requests = [[Request(n, shapes[size])] for size, number, _ in mine for n in cache.numbers(size, number)]
    drawer = Drawer(pairs, seed=seed, draws=draws)
    drawn = lists_of_samples(drawer.draw, requests, pairs=pairs, workers=workers, failures=Failures(failures))
    progress = Progress(len(requests), say)
    for size, number, shard in mine:
        found, records = [], []
        for ((hq, lqs, record),) in itertools.islice(drawn, len(cache.numbers(size, number))):
            found.append(encoded(codec, runtime.device, DTYPES[dtype], hq, lqs))
            records.append(record)
            progress.add(1, len(hq) * (1 + len(lqs)))
        cache.write(shard, found, records)
    return cache


def bytes_of(size: tuple[int, int, int], channels: int, *, versions: int, dtype: torch.dtype) -> int:
    """What the posteriors of a clip (frames, height, width) and its degraded versions take in a cache."""
    frames, height, width = size
    positions = (1 + (frames - 1) // TIME) * (height // SPACE) * (width // SPACE)
    return versions * 2 * channels * positions * dtype.itemsize


@torch.no_grad()
def encoded(codec: LatentCodec, device: torch.device, dtype: torch.dtype, hq: Tensor, lqs: Sequence[Tensor]) -> Sample:
    """Posteriors of a clean clip, and of its degraded versions one after the other."""

    def moments(clip: Tensor) -> Posterior:
        return Posterior(*(part.to("cpu", dtype) for part in codec.moments(clip.to(device))))

    return Sample(moments(hq), Posterior(*map(torch.stack, zip(*map(moments, lqs), strict=True))))


class Progress:
    """Says now and then how many samples are done, how fast, and how long the rest will take."""

    def __init__(self, total: int, say: Callable[[str], None]):
        self.total, self.say = total, say
        self.done = self.frames = 0
        self.start = self.last = time.monotonic()

    def add(self, samples: int, frames: int) -> None:
        """More is done."""
        self.done, self.frames = self.done + samples, self.frames + frames
        now = time.monotonic()
        if now - self.last >= EVERY or self.done == self.total:
            self.last, seconds = now, max(now - self.start, 1e-9)
            left = timedelta(seconds=round((self.total - self.done) * seconds / self.done))
            self.say(f"{self.done} of {self.total} samples, {self.frames / seconds:.1f} frames/s, {left} left")
