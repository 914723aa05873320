"""Feeds: what an objective eats, as micro-batches per step. Pixels for the VAE, latents for everything else."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from seedvr2.data.batch import Batch, Size
from seedvr2.data.loader import Failures, batches
from seedvr2.data.pairs import Pair, Pairs
from seedvr2.errors import UserError
from seedvr2.models.codec import LatentCodec
from seedvr2.models.patch import token_sizes
from seedvr2.models.vae.autoencoder import SPACE, TIME, Posterior
from seedvr2.objectives.objective import Recipe, Weights
from seedvr2.parallel.history import SplitCodec
from seedvr2.randomness import Draws, Key, seed_of, torch_generator
from seedvr2.training.builder import ModelBuilder
from seedvr2.training.latent_cache import LatentCache, origin
from seedvr2.training.weights import latent_scale

PREVIEWS = 4
CHUNK = 2  # latent frames in a pass through the VAE
Clips = list[tuple[Tensor, Tensor]]  # (HQ, LQ), each (T, 3, H, W) in [-1, 1]


class PixelFeed:
    """Clean clips (T, 3, H, W) in [-1, 1], with or without their degraded versions.

    pairs: recipe of the data. degraded: whether batches have `lq`. workers: loader processes. validation: recipe of the
    data that previews are drawn from, null: that of training. failures: share of unreadable files, of the samples
    drawn, above which the run stops.
    """

    def __init__(
        self,
        *,
        pairs: Callable[[], Pairs],
        build: ModelBuilder,
        weights: Weights,
        seed: int,
        stage: str,
        memory: dict,
        workers: int = 0,
        degraded: bool = False,
        validation: Callable[[], Pairs] | None = None,
        failures: float = 0.01,
    ):
        self.pairs, self.failures = pairs(), Failures(failures)
        self.validation = validation() if validation else self.pairs
        self.mesh = build.runtime.mesh
        self.device, self.seed, self.stage, self.workers = build.device, seed, stage, workers
        self.degraded = degraded

    def batches(self, start: int, stop: int, accumulate: int) -> Iterator[list[Batch]]:
        """Micro-batches of the steps from start to stop; they do not depend on where a run was interrupted."""
        for step, clips in fresh_clips(self, start, stop, clean_only=not self.degraded):
            yield micro_batches(self, step, *self._sides(clips), accumulate)

    def _sides(self, clips: Sequence[Pair]) -> tuple[list[Tensor], list[Tensor]]:
        """Clean clips, and degraded ones or none, on the device."""
        hq = [clip.hq.to(self.device) for clip in clips]
        return hq, [clip.lq.to(self.device) for clip in clips] if self.degraded else []

    def preview(self) -> tuple[Batch, Clips]:
        """The same few samples at every call, as a batch and as clips."""
        clips = [pair for _, pair in preview_pairs(self.validation, self.seed)]
        draws = sample_draws(self.seed, "preview", 0, range(len(clips)))
        return Batch(*self._sides(clips), draws), [(clip.hq, clip.lq) for clip in clips]

    def frames(self, results: list[Tensor]) -> list[Tensor]:
        """Results of an objective as clips (T, 3, H, W)."""
        return results

    def grids(self, batch: Batch) -> list[tuple]:
        """One entry per clip; there are no tokens."""
        return [()] * len(batch.hq)


class LatentFeed:
    """Clean and degraded clips as latents (t, h, w, 16) of a frozen VAE.

    vae: recipe; its weights are those of the VAE stage or of `run.weights.vae`. workers: loader processes.
    pool: draw from this many batches of distinct samples per shape and remember their latents, so that later steps and
    stages cost no decoding, degrading and encoding (null: every sample is new). Pooled samples are drawn in the
    training process. validation: recipe of the data that previews are drawn from, null: that of training. chunk:
    latent frames of a clip that pass through the VAE at once (bounds its memory, changes no result). failures: share of
    unreadable files, of the samples drawn, above which the run stops. cache: folder of latents that seedvr2.precompute
    made with this VAE and degradation, null: latents are encoded here. Raises UserError for a cache that does not fit.
    """

    def __init__(
        self,
        *,
        pairs: Callable[[], Pairs],
        vae: Recipe,
        build: ModelBuilder,
        weights: Weights,
        seed: int,
        stage: str,
        memory: dict,
        workers: int = 0,
        pool: int | None = None,
        validation: Callable[[], Pairs] | None = None,
        chunk: int = CHUNK,
        failures: float = 0.01,
        cache: str | None = None,
    ):
        self.pairs, self.failures = pairs(), Failures(failures)
        self.validation = validation() if validation else self.pairs
        path = weights.require("vae", purpose="latents need a VAE")
        self.mesh = build.runtime.mesh
        self.cache = None
        if cache is not None:
            self.cache = LatentCache(cache)
            self.cache.check([shape.size for shape in self.pairs.shapes], origin(pairs, path))
        frozen = build("vae", vae, path, trainable=False)
        self.codec = whole = LatentCodec(frozen, scale=latent_scale(path), chunk=chunk)
        self.drawn = whole.drawn
        if self.mesh.sequence is not None:
            self.codec = SplitCodec(self.codec, self.mesh.sequence)
        self.device, self.seed, self.stage, self.workers = build.device, seed, stage, workers
        self.pool = pool
        source = repr(getattr(pairs, "config", pairs))  # stages share latents of the same data only
        self.memory: dict[Key, tuple[Tensor, Tensor]] = memory.setdefault(("latents", str(path), source), {})

    def batches(self, start: int, stop: int, accumulate: int) -> Iterator[list[Batch]]:
        """Micro-batches of the steps from start to stop; they do not depend on where a run was interrupted."""
        steps = self._cached if self.cache else self._pooled if self.pool else self._fresh
        for step, latents in steps(start, stop):
            hq, lq = ([latent.to(self.device) for latent in side] for side in zip(*latents, strict=True))
            yield micro_batches(self, step, hq, lq, accumulate)

    def _fresh(self, start: int, stop: int) -> Iterator[tuple[int, list[tuple[Tensor, Tensor]]]]:
        for step, clips in fresh_clips(self, start, stop):
            positions = my_positions(self, step)
            keys = [(self.seed, self.stage, step, position) for position in positions]
            yield step, [self.encode(key, clip) for key, clip in zip(keys, clips, strict=True)]

    def _pooled(self, start: int, stop: int) -> Iterator[tuple[int, list[tuple[Tensor, Tensor]]]]:
        for step in range(start, stop):
            shape = self.pairs.shape_of(self.seed, self.stage, step)
            size = shape.frames, shape.height, shape.width
            count = self.pool * shape.batch
            positions = my_positions(self, step)
            numbers = [seed_of(self.seed, self.stage, step, position) % count for position in positions]
            keys = [(self.seed, "pool", *size, number) for number in numbers]
            for key in keys:
                if key not in self.memory:
                    before = self.pairs.failures
                    self.memory[key] = self.encode(key, self.pairs.draw(key, shape))
                    self.failures.add(self.pairs.failures - before)
            yield step, [self.memory[key] for key in keys]

    def _cached(self, start: int, stop: int) -> Iterator[tuple[int, list[tuple[Tensor, Tensor]]]]:
        for step in range(start, stop):
            shape = self.pairs.shape_of(self.seed, self.stage, step)
            latents = []
            for position in my_positions(self, step):
                key = (self.seed, self.stage, step, position)
                number, draw = (seed_of(*key, part) for part in ("sample", "draw"))
                sample = self.cache.read(shape.size, number % self.cache.count(shape.size), draw % self.cache.draws)
                latents.append(tuple(self._latent(key, *side) for side in sample._asdict().items()))
            yield step, latents

    def _latent(self, key: Key, side: str, posterior: Posterior) -> Tensor:
        noise = torch.randn(posterior.mean.shape, generator=torch_generator(*key, "posterior", side))
        return self.drawn(posterior, noise)

    @torch.no_grad()
    def encode(self, key: Key, clip: Pair) -> tuple[Tensor, Tensor]:
        """Latents of the clean and of the degraded clip, sampled from their posteriors by the key; in fp32 on the
        CPU.
        """
        latents = []
        for side, frames in clip._asdict().items():
            size = (len(frames) - 1) // TIME + 1, *(edge // SPACE for edge in frames.shape[2:])
            shape = (*size, self.codec.vae.latent_channels)
            noise = torch.randn(shape, generator=torch_generator(*key, "posterior", side)).to(self.device)
            latents.append(self.codec.encode(frames.to(self.device), noise=noise).float().cpu())
        return tuple(latents)

    def preview(self) -> tuple[Batch, Clips]:
        """The same few samples at every call, as a batch and as clips."""
        pairs = preview_pairs(self.validation, self.seed)
        latents = [self.encode(key, clip) for key, clip in pairs]
        hq, lq = ([latent.to(self.device) for latent in side] for side in zip(*latents, strict=True))
        batch = Batch(hq, lq, sample_draws(self.seed, "preview", 0, range(len(hq))))
        return batch, [(clip.hq, clip.lq) for _, clip in pairs]

    @torch.no_grad()
    def frames(self, results: list[Tensor]) -> list[Tensor]:
        """Latents of an objective as clips (T, 3, H, W)."""
        return [self.codec.decode(latent) for latent in results]

    def grids(self, batch: Batch) -> list[Size]:
        """Token grid of each clip."""
        return token_sizes(batch.sizes)


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
        positions=lambda shape: feed.mesh.positions(shape.batch),
        workers=feed.workers,
        clean_only=clean_only,
        failures=feed.failures,
    )


def my_positions(feed: PixelFeed | LatentFeed, step: int) -> range:
    """This rank's places in the global batch of a step."""
    return feed.mesh.positions(feed.pairs.shape_of(feed.seed, feed.stage, step).batch)


def preview_pairs(pairs: Pairs, seed: int) -> list[tuple[Key, Pair]]:
    """The first few samples of the preview stream with their keys: half of the first shape, half of the shortest that
    moves.
    """
    first = pairs.shapes[0]
    moving = min((shape for shape in pairs.shapes if shape.frames > 1), key=lambda shape: shape.frames, default=first)
    shapes = [first, moving] * (PREVIEWS // 2)
    keys = [(seed, "preview", 0, position) for position in range(len(shapes))]
    return [(key, pairs.draw(key, shape)) for key, shape in zip(keys, shapes, strict=True)]


def sample_draws(seed: int, stage: str, step: int, positions: Iterable[int]) -> list[Draws]:
    """Random draws of samples of a step, by their places in the global batch."""
    return [Draws(seed, stage, step, position) for position in positions]


def micro_batches(
    feed: PixelFeed | LatentFeed, step: int, hq: list[Tensor], lq: list[Tensor], parts: int
) -> list[Batch]:
    """This rank's clips of a step as equal micro-batches. Raises UserError if there are no equal ones."""
    if len(hq) % parts:
        raise UserError(
            f"stage {feed.stage} accumulates {parts} micro-batches, which {len(hq)} clips per data rank cannot fill "
            f"equally: use a multiple of {parts * feed.mesh.data_size} as the shape's batch, or another accumulate"
        )
    draws = sample_draws(feed.seed, feed.stage, step, my_positions(feed, step))
    each = len(hq) // parts
    slices = [slice(i, i + each) for i in range(0, len(hq), each)]
    return [Batch(hq[part], lq[part], draws[part]) for part in slices]
