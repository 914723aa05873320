"""Latents that were encoded once, on disk: clean clips, several degraded versions of each, and what they came from.

A folder of `<frames>x<height>x<width>-<number>.safetensors` shards, each with a `.json` of what was drawn, and
`cache.json`, which says what all of them have in common. Shards appear when they are complete.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from seedvr2.errors import UserError
from seedvr2.io.files import whole
from seedvr2.models.lora import fingerprint
from seedvr2.models.vae.autoencoder import Posterior
from seedvr2.training.weights import read_weights, save_tensors

VERSION = 3
FACTS = "cache.json"
PLACES = ("root", "index", "hq", "lq")  # of a recipe of pairs: where clips lie, which may change when files move
Size = tuple[int, int, int]  # frames, height, width

_log = logging.getLogger(__name__)


class Sample(NamedTuple):
    """A clip: posteriors of its clean version, and of one or all of its degraded ones."""

    hq: Posterior
    lq: Posterior


class LatentCache:
    """The cache in a folder. Raises UserError if there is none, or one of another version."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        try:
            facts = json.loads((self.folder / FACTS).read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{self.folder} is no latent cache ({error}): make one by seedvr2.precompute") from error
        if facts.get("version") != VERSION:
            raise UserError(f"{self.folder} is a latent cache of another version: make it again by seedvr2.precompute")
        self.facts = facts
        self.samples, self.draws, self.per_shard = facts["samples"], facts["draws"], facts["per_shard"]

    @classmethod
    def create(cls, folder: str | Path, facts: Mapping) -> "LatentCache":
        """The cache of some facts, begun or continued. Raises UserError if another one lies there."""
        folder, facts = Path(folder), {"version": VERSION, **facts}
        path = folder / FACTS
        try:
            if not path.is_file():
                with whole(path, contended=True) as temporary:  # all ranks begin together
                    temporary.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
        except OSError as error:
            raise UserError(f"{folder} cannot be written ({error.strerror}): choose another output") from error
        cache = cls(folder)
        for name, value in facts.items():
            if name != "places" and cache.facts.get(name) != value:
                raise UserError(f"{folder} holds a cache with another {name}: choose another output, or delete it")
        return cache

    def count(self, size: Size) -> int:
        """Clips of a size; 0 if the cache was made without it."""
        return self.samples if isinstance(self.samples, int) else self.samples.get(name_of(size), 0)

    def shards(self, size: Size) -> list[Path]:
        """Paths of all shards of a size, whether they are there or not."""
        return [
            self.folder / f"{name_of(size)}-{n:06}.safetensors" for n in range(-(-self.count(size) // self.per_shard))
        ]

    def numbers(self, size: Size, shard: int) -> range:
        """Numbers of the samples of a shard."""
        return range(shard * self.per_shard, min((shard + 1) * self.per_shard, self.count(size)))

    def write(self, path: Path, samples: Sequence[Sample], drawn: Sequence) -> None:
        """Write a shard. Raises UserError if the disk refuses."""
        tensors = {}
        for side in Sample._fields:
            for part in Posterior._fields:
                values = [getattr(getattr(sample, side), part) for sample in samples]
                tensors[f"{side}.{part}"] = torch.stack(values).contiguous()
        try:
            with whole(path.with_suffix(".json")) as temporary:
                temporary.write_text(json.dumps(drawn) + "\n")
            with whole(path) as temporary:
                save_tensors(temporary, tensors)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be written ({error}): make room and run the same command again") from error

    def check(self, sizes: Sequence[Size], expected: Mapping[str, object]) -> None:
        """Raise UserError unless the cache is complete for these sizes and was made from what is expected.

        Files that lie elsewhere may be the same: that is a warning.
        """
        for name, value in expected.items():
            if name == "places" and self.facts[name] != value:
                _log.warning("the latents of %s come from %s, not %s", self.folder, self.facts[name], value)
            elif self.facts[name] != value:
                raise UserError(
                    f"the latent cache {self.folder} was made with another {name} ({_short(self.facts[name])}, not "
                    f"{_short(value)}): make one with this {name} by seedvr2.precompute, or train without feed.cache"
                )
        for size in dict.fromkeys(sizes):
            if not self.count(size):
                raise UserError(
                    f"the latent cache {self.folder} has no clips of {name_of(size)}: make one with this shape by "
                    "seedvr2.precompute, or train without feed.cache"
                )
            missing = [path for path in self.shards(size) if not path.is_file()]
            if missing:
                raise UserError(
                    f"the latent cache {self.folder} lacks {len(missing)} of {len(self.shards(size))} shards of "
                    f"{name_of(size)}: run seedvr2.precompute with this shape, or to its end"
                )

    def read(self, size: Size, number: int, draw: int) -> Sample:
        """A sample with one of its degraded versions; (t, h, w, C) each, in fp32."""
        path = self.shards(size)[number // self.per_shard]
        place = number % self.per_shard
        try:
            file = _opened(path)
            hq = (file.get_slice(f"hq.{part}")[place] for part in Posterior._fields)
            lq = (file.get_slice(f"lq.{part}")[place, draw] for part in Posterior._fields)
            return Sample(Posterior(*map(Tensor.float, hq)), Posterior(*map(Tensor.float, lq)))
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be read ({error}): delete it and run seedvr2.precompute again") from error


def name_of(size: Size) -> str:
    """A size as caches spell it: frames, height and width."""
    return "x".join(map(str, size))


@lru_cache(maxsize=256)
def _opened(path: Path):
    return safe_open(path, framework="pt")


def origin(pairs: Callable, vae: Path) -> dict[str, object]:
    """What latents depend on: hashes of the VAE's encoder, of the degradation that a recipe of pairs describes, and of
    the rest of it but its shapes (data); and the places of its files.
    """
    described = dict(getattr(pairs, "config", {}))
    described.pop("shapes", None)
    degradation = described.pop("degradation", None)
    places = {name: str(place) for name in PLACES if (place := described.pop(name, None)) is not None}
    encoder = {key: value for key, value in read_weights(vae).items() if key.startswith("encoder.")}
    return {
        "vae": fingerprint(encoder),
        "degradation": config_hash(degradation),
        "data": config_hash(described),
        "places": places,
    }


def config_hash(node: object) -> str:
    """Short hash of a plain configuration."""
    return hashlib.sha256(json.dumps(node, sort_keys=True).encode()).hexdigest()[:16]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
