"""Memory and work of a restoration, from its very calls on the meta device.

What the autoencoder and the generator hold while they run follows from their code; nothing is fitted to measurements.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seedvr2.models.codec import LatentCodec
from seedvr2.models.dit import plan_layer
from seedvr2.models.vae.autoencoder import SPACE, TIME
from seedvr2.models.vae.inference import InferenceVAE, Tiling
from seedvr2.restore.generation import Generation
from seedvr2.restore.plan.networks import Outline
from seedvr2.restore.plan.settings import Settings, on_device
from seedvr2.restore.resize import Size
from seedvr2.restore.shot import SIDE_MULTIPLE
from seedvr2.restore.stream import decoded, encoded
from seedvr2.tracing import Kernels, Live, standing_for

STAGES = ("encode", "generate", "decode")


@dataclass(frozen=True)
class Film:
    """What is to be restored. source, size: of its pictures and of those of the output. frames: None if unknown."""

    source: Size
    size: Size
    frames: int | None = None

    @property
    def padded(self) -> Size:
        """The size that the networks see."""
        return Size(*(-(-side // SIDE_MULTIPLE) * SIDE_MULTIPLE for side in self.size))

    @property
    def latents(self) -> int | None:
        """Latent frames."""
        return None if self.frames is None else 1 + math.ceil((self.frames - 1) / TIME)


@dataclass
class Traced:
    """What calls of a run, or of a part of one, need on the device.

    most: bytes beside the weights while a stage runs. rest: of a part, bytes that stay after a stage. history: those of
    its history among them. host: bytes of histories in the memory of the host. work: of the first call of a stage and
    of a later one, FLOPs and bytes by kind. layers: FLOPs by operation and shape of its weight.
    """

    most: dict[str, int] = field(default_factory=dict)
    rest: dict[str, int] = field(default_factory=dict)
    history: dict[str, int] = field(default_factory=dict)
    host: int = 0
    work: dict[str, list[Counter]] = field(default_factory=dict)
    layers: Counter = field(default_factory=Counter)


class _Once:
    """A network that runs once; later calls of the same shape take as much and give a result of the same shape."""

    def __init__(self, network: torch.nn.Module, meter: "_Meter"):
        self.network, self.meter = network, meter
        self.work: Counter | None = None

    def __call__(self, *arguments: object) -> Tensor:
        if self.work is not None:
            self.meter.more += self.work
            return torch.empty_like(self.result)
        before = self.meter.count()
        self.result = self.network(*arguments)
        self.work = self.meter.count() - before
        return self.result


class _Meter:
    def __init__(self, networks: Outline, kind: str):
        generator, vae, prompt = networks
        known = [prompt, *(x for network in (generator, vae) for x in (*network.parameters(), *network.buffers()))]
        self.kind, self.live, self.kernels = kind, Live(known), Kernels(kind != "cpu")
        self.more: Counter = Counter()
        self.found = Traced()

    def count(self) -> Counter:
        """Work so far."""
        kinds = Counter(attention=self.kernels.attention, moved=self.live.moved) + self.more
        for (name, _), flops in self.live.layers.items():
            kinds["convolution" if "conv" in name else "matmul"] += flops
        return kinds

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside towards a stage."""
        before, self.live.most = self.count(), self.live.bytes
        yield
        self.found.most[name] = max(self.found.most.get(name, 0), self.live.most)
        self.found.work.setdefault(name, []).append(self.count() - before)

    @contextlib.contextmanager
    def running(self) -> Iterator[Traced]:
        """Count what happens inside; what was found is complete afterwards."""
        with standing_for(self.kind), self.kernels, self.live:
            yield self.found
        self.found.layers = self.live.layers


def trace_run(
    networks: Outline,
    film: Film,
    settings: Settings,
    *,
    dtype: torch.dtype,
    kind: str,
    sampling: Mapping,
    parts: MutableMapping[tuple, Traced],
) -> Traced:
    """Trace the first and a later call of each stage, each beside what the other stages leave there.

    kind: of the device, "cpu" or "cuda" for instance. sampling: arguments of `Generation`. parts: what other settings
    of the same run made known, to which the parts of these are added.
    """
    count = math.inf if film.latents is None else film.latents
    window = int(min(settings.window, count))
    how = settings.chunk, on_device(settings.tiling)  # where histories lie changes nothing of the calls
    if how not in parts:
        parts[how] = _code(networks, film, *how, dtype=dtype, kind=kind)
    if (window,) not in parts:
        parts[(window,)] = _generate(networks, film, window, dtype=dtype, kind=kind, sampling=sampling)
    coded, generated = parts[how], parts[(window,)]
    is_later = count > window  # later calls of encoder and generator meet what the decoder left
    encoder, decoder = coded.rest["encode"], coded.rest["decode"] * is_later
    most = {
        "encode": coded.most["encode"] + decoder,
        "generate": encoder + generated.most["generate"] + decoder,
        "decode": encoder + generated.rest["generate"] + coded.most["decode"],
    }
    encoder, decoder = coded.history["encode"], coded.history["decode"]
    away = dict.fromkeys(STAGES, 0)
    if settings.tiling.host:
        away = dict.fromkeys(("encode", "generate"), encoder + decoder * is_later) | {"decode": encoder + decoder}
    elif settings.tiling.parks:
        away = {"encode": decoder * is_later, "generate": decoder * is_later, "decode": encoder}
        if window == 1:  # where windows follow on frames that were just decoded
            away["generate"] = min(encoder, decoder) * is_later
    return Traced(
        most={stage: most[stage] - away[stage] for stage in STAGES},
        history=coded.history,
        host=max(away.values()),
        work=coded.work | generated.work,
        layers=coded.layers + generated.layers,
    )


@torch.no_grad()
def _code(networks: Outline, film: Film, chunk: int, tiling: Tiling, *, dtype: torch.dtype, kind: str) -> Traced:
    codec, meter = LatentCodec(networks.vae), _Meter(networks, kind)
    count = math.inf if film.latents is None else film.latents
    codec.vae.tiling = tiling
    held = codec.vae.held if isinstance(codec.vae, InferenceVAE) else lambda: 0
    with meter.running() as found:
        frames = _frames(min(film.frames or math.inf, 1 + 3 * TIME * chunk), *film.padded, dtype)
        latents = encoded(frames, codec, seed=0, latents=chunk)
        for first in (True, False)[: 1 + (count > 1 + chunk)]:
            with meter.stage("encode"):
                latent = next(latents)
            for _ in range(chunk - (not first)):
                next(latents, None)
        found.rest["encode"] = meter.live.bytes
        found.history["encode"] = held()
        made = decoded((latent for _ in range(int(min(count, 2 * chunk)))), codec, count=chunk)
        for first in (True, False)[: 1 + (count > chunk)]:
            with meter.stage("decode"):
                next(made)
            for _ in range(TIME * chunk - 1 - 3 * first):
                next(made, None)
        found.most["decode"] -= found.rest["encode"]
        found.rest["decode"] = meter.live.bytes - found.rest["encode"]
        found.history["decode"] = held() - found.history["encode"]
    return found


@torch.no_grad()
def _generate(
    networks: Outline, film: Film, window: int, *, dtype: torch.dtype, kind: str, sampling: Mapping
) -> Traced:
    height, width = (side // SPACE for side in film.padded)
    meter = _Meter(networks, kind)
    plan_layer.cache_clear()  # its tables stay on the device and count
    with meter.running() as found:
        waiting = torch.empty(window, height, width, networks.vae.latent_channels, dtype=dtype, device="meta")
        with meter.stage("generate"):
            once = _Once(networks.generator, meter)
            generation = Generation(once, prompt=networks.prompt, device="meta", dtype=dtype, **sampling)
            clean = generation(waiting.clone(), 0)
        found.rest["generate"] = meter.live.bytes
        del clean
    plan_layer.cache_clear()
    return found


def _frames(count: float, height: int, width: int, dtype: torch.dtype) -> Iterator[Tensor]:
    while count > 0:
        yield torch.empty(3, height, width, dtype=dtype, device="meta")
        count -= 1
