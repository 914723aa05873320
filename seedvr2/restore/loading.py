"""From what a user asks for to a model that is ready to run, and the facts that its results depend on."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import torch

from seedvr2.errors import UserError
from seedvr2.models.codec import LatentCodec
from seedvr2.models.lora import fingerprint
from seedvr2.models.storage import FULL, STORAGES, store
from seedvr2.models.vae.inference import InferenceVAE
from seedvr2.restore.device import DTYPES, native_dtype, pick_device, ways_of
from seedvr2.restore.events import Events
from seedvr2.restore.film import Identity, Restores
from seedvr2.restore.generation import Guidance
from seedvr2.restore.hashes import file_hash
from seedvr2.restore.memory import give_back_at_once
from seedvr2.restore.models import Adapters, heads_of, load_model, lora_facts
from seedvr2.restore.placement import Placement
from seedvr2.restore.plan.settings import Settings, ladder, overlap_of
from seedvr2.restore.recovery import Retreat, SteadyCodec, SteadyGenerator
from seedvr2.restore.search import FAITHFUL_FILE, WEIGHTS_VARIABLE, ModelFiles, fetched, find_model
from seedvr2.restore.shot import COLOR_FIXES, ShotRestorer
from seedvr2.restore.stream import TIME

IDENTITY = "identity"
VAES = ("fast", "plain")
POSTERIORS = ("sample", "mean")


class Choice(NamedTuple):
    """What to load and how to run it; None stands for what suits the model and the machine, as `infer --help` says."""

    model: str | None = None
    models: Path | None = None
    lora: Path | None = None
    lora_strength: float | None = None
    seed: int = 0
    window: int | None = None  # frames
    steps: int | None = None
    cfg: float | None = None
    cfg_rescale: float | None = None
    fidelity: float | None = None
    color_fix: str | None = None
    posterior: str = "sample"
    device: str | None = None
    dtype: str | None = None
    vae: str = "fast"  # or "plain": how the autoencoder is computed, with the same results but for rounding
    weights: str = FULL  # storage of the generator's large layers
    offload: int | None = None  # generator blocks that stay on the device at most


class Decided(NamedTuple):
    """A choice with nothing left open but memory. dtype: a key of `DTYPES`, reason: why. window: latent frames."""

    files: ModelFiles
    device: torch.device
    dtype: str
    reason: str | None
    window: int
    steps: int
    cfg: float
    cfg_rescale: float
    color_fix: str
    adapters: Adapters | None


class Loaded(NamedTuple):
    """A model ready to run, and everything about it that results depend on, JSON-able. retreat: its way with memory.
    parameters: of the generator.
    """

    restorer: Restores
    facts: dict
    retreat: Retreat | None = None
    parameters: int = 0

    def settled(self, settings: Settings, ranks: int = 1) -> "Loaded":
        """The same with other settings of memory. ranks: processes that share the autoencoder's calls."""
        assert self.retreat is not None
        values = {"window": settings.window, "overlap": overlap_of(settings.window)}
        self.restorer.window, self.restorer.overlap, self.restorer.chunk = *values.values(), settings.chunk * ranks
        self.retreat.begin(settings)
        return self._replace(facts=self.facts | values)

    def unsteady(self) -> None:
        """Let running out of memory end a run."""
        generation = self.restorer.generation
        generation.generator, self.restorer.codec = generation.generator.generator, self.restorer.codec.codec


def decide(choice: Choice) -> Decided:
    """Everything that a choice leaves open but memory. Raises UserError for what does not exist or fit."""
    adapters = chosen_adapters(choice)
    if choice.dtype not in (None, *DTYPES):
        raise UserError(f"there is no precision {choice.dtype}; use one of {', '.join(DTYPES)}")
    device = pick_device(choice.device)
    files = find_model(choice.model, has_gpu=device.type != "cpu", models=choice.models)
    files = with_fidelity(files, choice.fidelity)
    if not isinstance(choice.seed, Integral):
        raise UserError(f"the seed is {choice.seed!r}; give a whole number")
    if choice.vae not in VAES:
        raise UserError(f"there is no way {choice.vae} of the autoencoder; use one of {', '.join(VAES)}")
    dtype, reason = (choice.dtype, None) if choice.dtype else native_dtype(device)
    if choice.weights not in STORAGES:
        raise UserError(f"there is no storage {choice.weights} of weights; use one of {', '.join(STORAGES)}")
    if choice.offload is not None and choice.offload < 0:
        raise UserError(f"--offload {choice.offload} makes no sense; give the number of blocks that stay, at least 0")
    if choice.weights == "fp8" and device.type == "mps":
        raise UserError("--weights fp8 does not exist on mps; use int8")
    if choice.posterior not in POSTERIORS:
        raise UserError(f"there is no posterior {choice.posterior}; use one of {', '.join(POSTERIORS)}")
    color_fix = choice.color_fix or files.color_fix
    if color_fix not in COLOR_FIXES:
        raise UserError(f"there is no colour fix {color_fix!r}; use one of {', '.join(COLOR_FIXES)}")
    window = window_latents(files.window if choice.window is None else choice.window)
    steps = step_count(choice.steps, files)
    return Decided(files, device, dtype, reason, window, steps, *guidance_scales(choice, files), color_fix, adapters)


def load_choice(choice: Choice, events: Events, settings: Settings | None = None) -> Loaded:
    """Find and load a model, and say which it is; what is not on this machine is fetched.

    settings: of memory, else the usual ones. Raises UserError for what does not exist or fit, and before anything is
    fetched for settings that make no sense.
    """
    if choice.model == IDENTITY:
        return Loaded(Identity(), {"name": IDENTITY})
    files, device, dtype, reason, window, steps, cfg, cfg_rescale, color_fix, adapters = decide(choice)
    settings = settings or Settings(window, resident=choice.offload)
    if choice.model is None and not files.released:
        lack = "no GPU" if device.type == "cpu" else f"no released weights in ${WEIGHTS_VARIABLE} or the cache"
        events.say(f"no --model given and {lack}, so the bundled tiny model runs")
    files = fetched(files, say=events.say, progress=events.shows_progress)
    calls = "1 step" if steps == 1 else f"{steps} steps"
    calls += "" if cfg == 1 else f" with guidance {cfg:g}"
    precision = f"{dtype} because {reason}" if reason else dtype
    calls += "" if files.faithful is None else f", fidelity {files.fidelity:g}"
    how = f"{precision}, {calls}, seed {choice.seed}, colour fix {color_fix}"
    events.say(f"model {files.name} ({files.origin}) on {device}, {how}", event="model")
    if adapters is not None:
        strength = "as exported" if adapters.strength is None else adapters.strength
        events.say(f"adapters {adapters.path}, strength {strength}")
    if device.type == "cpu":
        give_back_at_once()
    if dtype == "fp32":
        torch.backends.cudnn.allow_tf32 = False  # whose products have ten bits
    is_direct = settings.resident is None and choice.weights == FULL
    place = device if is_direct else torch.device("cpu")
    with ThreadPoolExecutor() as pool:  # hashing takes no longer than loading
        hashes = pool.map(file_hash, files.paths)
        model = load_model(files, device=place, dtype=DTYPES[dtype], posterior=choice.posterior, adapters=adapters)
    hashed = hash_of_model(model.generator, model.codec.vae)
    parameters = sum(x.numel() for x in model.generator.parameters())
    store(model.generator, choice.weights)
    vae = model.codec.vae.to(device)
    vae = InferenceVAE(vae, ways=ways_of(device)) if choice.vae == "fast" else vae
    codec = LatentCodec(vae, model.codec.scale, model.codec.posterior)
    retreat = retreat_of(model.generator, vae, settings, device, events)
    values = {"seed": choice.seed, "window": settings.window, "overlap": overlap_of(settings.window), "steps": steps}
    values |= {"condition_noise": files.condition_noise, "color_fix": color_fix}
    restorer = ShotRestorer(
        SteadyGenerator(model.generator, retreat, vae.leave if isinstance(vae, InferenceVAE) else None),
        SteadyCodec(codec, retreat),
        prompt=model.prompt,
        guidance=None if cfg == 1 else Guidance(model.negative, cfg, cfg_rescale),
        device=device,
        dtype=DTYPES[dtype],
        chunk=settings.chunk,
        **values,
    )
    facts = {"name": files.name, "origin": files.origin, "hash": hashed}
    facts |= {} if files.faithful is None else {"fidelity": files.fidelity}
    # Of a run, both ends have the same file name.
    names = [FAITHFUL_FILE if path == files.faithful else path.name for path in files.paths]
    facts["sha256"] = dict(zip(names, hashes, strict=True))
    facts |= {**values, "cfg": cfg, "cfg_rescale": cfg_rescale}
    facts |= {"posterior": choice.posterior, "dtype": dtype, "weights": choice.weights, "vae": choice.vae}
    facts["device"] = device.type
    return Loaded(restorer, facts, retreat, parameters)


def retreat_of(
    generator: torch.nn.Module, vae: torch.nn.Module, settings: Settings, device: torch.device, events: Events
) -> Retreat:
    """Put networks where settings say, with a way down from there."""

    def less(settings: Settings) -> Iterator[Settings]:
        blocks = len(generator.trunk.blocks)
        is_tiled = isinstance(vae, InferenceVAE)
        return ladder(settings, blocks=blocks, offload=device.type != "cpu", windows=False, is_tiled=is_tiled)

    return Retreat(settings, less, Placement(generator, vae, device), device, events)


def check_ranks(choice: Choice, ranks: int) -> None:
    """Raise UserError for more processes than heads of a model's generator; nothing is loaded."""
    if choice.model == IDENTITY:
        return
    files = find_model(choice.model, has_gpu=pick_device(choice.device).type != "cpu", models=choice.models)
    heads = heads_of(files)
    if ranks > heads:
        raise UserError(
            f"{ranks} processes cannot share the {heads} heads of {files.name}; start {heads} of them or fewer"
            " (torchrun --nproc-per-node), or use --ranks spread"
        )


def hash_of_model(*networks: torch.nn.Module) -> str:
    """Short hash of networks as they were loaded."""
    return "-".join(fingerprint(network.state_dict()) for network in networks)


def chosen_adapters(choice: Choice) -> Adapters | None:
    """The adapters asked for; raises UserError for a strength without a file or that is no number, and for a file
    without adapters.
    """
    strength = choice.lora_strength
    if strength is not None and choice.lora is None:
        raise UserError(f"--lora-strength {strength:g} has nothing to scale; give --lora FILE too")
    if strength is not None and not math.isfinite(strength):
        raise UserError(f"--lora-strength {strength} makes no sense; give a number, usually from 0 to 1")
    if choice.lora is None:
        return None
    lora_facts(choice.lora)
    return Adapters(choice.lora, strength)


def with_fidelity(files: ModelFiles, asked: float | None) -> ModelFiles:
    """The files with the fidelity asked for; raises UserError for a model without two ends, or a number outside."""
    if asked is None:
        return files
    if files.faithful is None:
        raise UserError(
            f"--fidelity {asked:g} needs a model with two generators, and {files.name} has one; leave it out, or put "
            f"{FAITHFUL_FILE} beside its generator"
        )
    if not 0 <= asked <= 1:
        raise UserError(f"--fidelity {asked:g} makes no sense; give a number from 0 (vivid) to 1 (faithful)")
    return replace(files, fidelity=float(asked))


def step_count(asked: int | None, files: ModelFiles) -> int:
    """How often the generator is called per window; raises UserError for a number that the model is not made for."""
    if asked is None:
        return files.steps or files.usual_steps
    if asked < 1:
        raise UserError(f"--steps {asked} makes no sense; give at least 1")
    if files.steps not in (None, asked):
        raise UserError(f"--steps {asked} does not fit {files.name}, which is made for {files.steps}; leave it out")
    return asked


def guidance_scales(choice: Choice, files: ModelFiles) -> tuple[float, float]:
    """Scale and rescale of guidance; raises UserError for a model that is not made for it, or numbers that make no
    sense.
    """
    cfg, rescale = choice.cfg, choice.cfg_rescale
    if files.steps is not None and (cfg not in (None, 1) or rescale):
        option = f"--cfg-rescale {rescale:g}" if cfg in (None, 1) else f"--cfg {cfg:g}"
        made = "1 step" if files.steps == 1 else f"{files.steps} steps"
        raise UserError(f"{option} needs a multi-step model, and {files.name} is made for {made}; leave it out")
    cfg = files.cfg if cfg is None else cfg
    if not (math.isfinite(cfg) and cfg >= 0):
        raise UserError(f"--cfg {cfg} makes no sense; give a number of at least 0, 1 for no guidance")
    if rescale is not None and not 0 <= rescale <= 1:
        raise UserError(f"--cfg-rescale {rescale} makes no sense; give a number from 0 to 1")
    if rescale and cfg == 1:
        raise UserError(f"--cfg-rescale {rescale:g} has nothing to rescale; give --cfg too")
    return float(cfg), float(rescale or 0)


def window_latents(frames: int) -> int:
    """Latent frames of a window of 4k + 1 frames; raises UserError for other numbers."""
    if frames < 1 or frames % TIME != 1:
        nearest = max(1, frames // TIME * TIME + 1)
        raise UserError(f"--window {frames} is not 4k + 1 frames; use for instance {nearest}")
    return frames // TIME + 1
