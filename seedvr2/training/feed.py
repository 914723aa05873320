"""Feeds: what an objective eats, as micro-batches per step. Pixels for the VAE, latents for everything else."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from seedvr2.data.batch import Batch
from seedvr2.data.loader import batches
from seedvr2.data.pairs import Pair, Pairs, Shape
from seedvr2.models.codec import RELEASED_SCALE, LatentCodec
from seedvr2.objectives.objective import Build, Recipe, Weights
from seedvr2.randomness import Draws, Key, seed_of, torch_generator
from seedvr2.training.weights import read_metadata

PREVIEWS = 4
Clips = list[tuple[Tensor, Tensor]]  # (HQ, LQ), each (T, 3, H, W) in [-1, 1]


class PixelFeed:
    """Clean clips (T, 3, H, W) in [-1, 1].

    pairs: recipe of the data. workers: loader processes.
    """

    def __init__(
        self,
        *,
        pairs: Callable[[], Pairs],
        build: Build,
        weights: Weights,
        seed: int,
        stage: str,
        memory: dict,
        workers: int = 0,
    ):
        self.pairs = pairs()
        self.device, self.seed, self.stage, self.workers = build.device, seed, stage, workers

    def batches(self, start: int, stop: int, accumulate: int) -> Iterator[list[Batch]]:
        """Micro-batches of the steps from start to stop; they do not depend on where a run was interrupted."""
        for step, clips in fresh_clips(self, start, stop, clean_only=True):
            hq = [clip.hq.to(self.device) for clip in clips]
            yield split(Batch(hq, hq, sample_draws(self.seed, self.stage, step, len(hq))), accumulate)

    def preview(self) -> tuple[Batch, Clips]:
        """The same few samples at every call, as a batch and as clips."""
        clips = [pair for _, pair in preview_pairs(self.pairs, self.seed)]
        hq = [clip.hq.to(self.device) for clip in clips]
        return Batch(hq, hq, sample_draws(self.seed, "preview", 0, len(hq))), [(clip.hq, clip.lq) for clip in clips]

    def frames(self, results: list[Tensor]) -> list[Tensor]:
        """Results of an objective as clips (T, 3, H, W)."""
        return results


class LatentFeed:
    """Clean and degraded clips as latents (t, h, w, 16) of a frozen VAE.

    vae: recipe; its weights are those of the VAE stage or of `run.weights.vae`. workers: loader processes.
    pool: draw from this many batches of distinct samples per shape and remember their latents, so that later steps and
    stages cost no decoding, degrading and encoding (null: every sample is new). Pooled samples are drawn in the
    training process.
    """

    def __init__(
        self,
        *,
        pairs: Callable[[], Pairs],
        vae: Recipe,
        build: Build,
        weights: Weights,
        seed: int,
        stage: str,
        memory: dict,
        workers: int = 0,
        pool: int | None = None,
    ):
        self.pairs = pairs()
        path = weights.require("vae", purpose="latents need a VAE")
        self.codec = LatentCodec(build("vae", vae, path, trainable=False), scale=latent_scale(path))
        self.device, self.seed, self.stage, self.workers = build.device, seed, stage, workers
        self.pool = pool
        source = repr(getattr(pairs, "config", pairs))  # stages share latents of the same data only
        self.memory: dict[Key, tuple[Tensor, Tensor]] = memory.setdefault(("latents", str(path), source), {})

    def batches(self, start: int, stop: int, accumulate: int) -> Iterator[list[Batch]]:
        """Micro-batches of the steps from start to stop; they do not depend on where a run was interrupted."""
        for step, latents in self._pooled(start, stop) if self.pool else self._fresh(start, stop):
            hq, lq = ([latent.to(self.device) for latent in side] for side in zip(*latents, strict=True))
            yield split(Batch(hq, lq, sample_draws(self.seed, self.stage, step, len(hq))), accumulate)

    def _fresh(self, start: int, stop: int) -> Iterator[tuple[int, list[tuple[Tensor, Tensor]]]]:
        for step, clips in fresh_clips(self, start, stop):
            keys = [(self.seed, self.stage, step, position) for position in range(len(clips))]
            yield step, [self.encode(key, clip) for key, clip in zip(keys, clips, strict=True)]

    def _pooled(self, start: int, stop: int) -> Iterator[tuple[int, list[tuple[Tensor, Tensor]]]]:
        for step in range(start, stop):
            shape = self.pairs.shape_of(self.seed, self.stage, step)
            size = shape.frames, shape.height, shape.width
            count = self.pool * shape.batch
            numbers = [seed_of(self.seed, self.stage, step, position) % count for position in whole_batch(shape)]
            keys = [(self.seed, "pool", *size, number) for number in numbers]
            for key in keys:
                if key not in self.memory:
                    self.memory[key] = self.encode(key, self.pairs.draw(key, shape))
            yield step, [self.memory[key] for key in keys]

    @torch.no_grad()
    def encode(self, key: Key, clip: Pair) -> tuple[Tensor, Tensor]:
        """Latents of the clean and of the degraded clip, sampled from their posteriors by the key; in fp32 on the
        CPU.
        """
        latents = []
        for side, frames in clip._asdict().items():
            frames = frames.to(self.device)
            size = (
                (len(frames) - 1) // 4 + 1,
                frames.shape[2] // 8,
                frames.shape[3] // 8,
                self.codec.vae.latent_channels,
            )
            noise = torch.randn(size, generator=torch_generator(*key, "posterior", side)).to(self.device)
            latents.append(self.codec.encode(frames, noise=noise).float().cpu())
        return tuple(latents)

    def preview(self) -> tuple[Batch, Clips]:
        """The same few samples at every call, as a batch and as clips."""
        pairs = preview_pairs(self.pairs, self.seed)
        latents = [self.encode(key, clip) for key, clip in pairs]
        hq, lq = ([latent.to(self.device) for latent in side] for side in zip(*latents, strict=True))
        batch = Batch(hq, lq, sample_draws(self.seed, "preview", 0, len(hq)))
        return batch, [(clip.hq, clip.lq) for _, clip in pairs]

    @torch.no_grad()
    def frames(self, results: list[Tensor]) -> list[Tensor]:
        """Latents of an objective as clips (T, 3, H, W)."""
        return [self.codec.decode(latent) for latent in results]


def fresh_clips(
    feed: PixelFeed | LatentFeed, start: int, stop: int, *, clean_only: bool = False
) -> Iterator[tuple[int, list[Pair]]]:
    """Newly drawn clips of every step of a feed's stage."""
    return batches(
        feed.pairs,
        seed=feed.seed,
        stage=feed.stage,
        start=start,
        stop=stop,
        positions=whole_batch,
        workers=feed.workers,
        clean_only=clean_only,
    )


def latent_scale(path: Path) -> float:
    """Latent scale of a VAE file: its own if training measured one, else the released 0.9152."""
    return read_metadata(path).get("scale", RELEASED_SCALE) if path.suffix == ".safetensors" else RELEASED_SCALE


def whole_batch(shape: Shape) -> range:
    """Positions of all samples of a step."""
    return range(shape.batch)


def preview_pairs(pairs: Pairs, seed: int) -> list[tuple[Key, Pair]]:
    """The first few samples of the preview stream, all of the first shape, with their keys."""
    keys = [(seed, "preview", 0, position) for position in range(PREVIEWS)]
    return [(key, pairs.draw(key, pairs.shapes[0])) for key in keys]


def sample_draws(seed: int, stage: str, step: int, count: int) -> list[Draws]:
    """Random draws of each sample of a step."""
    return [Draws(seed, stage, step, position) for position in range(count)]


def split(batch: Batch, parts: int) -> list[Batch]:
    """The global batch of a step as micro-batches of nearly equal size."""
    edges = [round(i * len(batch.hq) / parts) for i in range(parts + 1)]
    slices = [slice(a, b) for a, b in itertools.pairwise(edges) if b > a]
    return [Batch(batch.hq[part], batch.lq[part], batch.draws[part]) for part in slices]
