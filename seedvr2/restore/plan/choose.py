"""The fastest settings of a run that fit into memory, and what they will take."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from seedvr2.errors import UserError
from seedvr2.models.vae.inference import InferenceVAE
from seedvr2.restore.memory import write_memory
from seedvr2.restore.offload import streamed_bytes
from seedvr2.restore.plan.host import frame_bytes
from seedvr2.restore.plan.networks import Outline
from seedvr2.restore.plan.prediction import Film, Traced, trace_run
from seedvr2.restore.plan.settings import Settings, busy_chunk, ladder
from seedvr2.restore.recovery import reaches

SHARE = 0.9  # of the free memory that a run may use: kernels' workspaces and gaps between tensors take some
PRODUCTS = 64 << 20  # bytes that the matrix products of a GPU keep as workspace


@dataclass(frozen=True)
class Task:
    """What is to be run where. sampling: arguments of `Generation`. given: settings of which nothing may change that
    changes results, if `is_fixed`. budget: bytes of the device. host_budget: bytes of the host beside another device.
    is_split: whether several devices share the clip.
    """

    networks: Outline
    film: Film
    device: torch.device
    dtype: torch.dtype
    sampling: Mapping
    given: Settings
    is_fixed: bool
    budget: float
    host_budget: float = math.inf
    is_split: bool = False
    traces: dict[tuple, Traced] = field(default_factory=dict)

    @property
    def is_host(self) -> bool:
        """Whether the device is the host itself."""
        return self.device.type == "cpu"


@dataclass(frozen=True)
class Plan:
    """Settings, and what a run with them takes: bytes of weights on the device by network, bytes beside them by stage,
    bytes of frames (histories, streamed weights) in host memory. streamed: bytes of weights that each generator call
    fetches.
    """

    task: Task
    settings: Settings
    weights: Mapping[str, int]
    most: Mapping[str, int]
    host: int
    traced: Traced
    streamed: int = 0

    @property
    def needed(self) -> int:
        """Bytes of the device that the run takes at most."""
        return sum(self.weights.values()) + max(self.most.values()) + self.host * self.task.is_host

    @property
    def fits(self) -> bool:
        """Whether they are within the budgets of device and host."""
        return self.fits_device and (self.task.is_host or self.host <= self.task.host_budget)

    @property
    def fits_device(self) -> bool:
        """Whether they are within the budget of the device."""
        return self.needed <= self.task.budget


def predict(task: Task, settings: Settings) -> Plan:
    """What a run takes with some settings."""
    networks, film = task.networks, task.film
    gpu = not task.is_host
    traced = trace_run(
        networks,
        film,
        settings,
        dtype=task.dtype,
        kind=task.device.type,
        sampling=task.sampling,
        parts=task.traces,
    )
    kept = min(film.frames or math.inf, reaches(networks.vae)[0])  # frames that a recovery starts from
    extra = int(kept * 3 * math.prod(film.padded) * task.dtype.itemsize) + gpu * PRODUCTS
    may_vary = task.device.type == "cuda" and isinstance(networks.vae, InferenceVAE)  # in the way of convolution
    spare = settings.tiling.spare if may_vary else 0
    most = {stage: size + extra + spare * (stage != "generate") for stage, size in traced.most.items()}
    weights, away = networks.bytes(), 0
    host = frame_bytes(film, settings, is_host=task.is_host) + traced.host
    if settings.resident is not None:
        away, visiting, locked = streamed_bytes(networks.generator.trunk.blocks, settings.resident)
        weights["generator"] -= away
        most["generate"] += visiting
        host += away if task.is_host else locked
    return Plan(task, settings, weights, most, host, traced, away)


def ways(task: Task) -> list[Settings]:
    """All settings that the task allows, the fastest first."""
    # A CPU is busy with a frame already.
    chunk = 1 if task.is_host else min(busy_chunk(*task.film.padded), task.film.latents or math.inf)
    first = task.given._replace(chunk=int(chunk))
    blocks = len(task.networks.generator.trunk.blocks)
    allowed = {"offload": not task.is_host, "windows": not task.is_fixed, "is_split": task.is_split}
    return [first, *ladder(first, blocks=blocks, **allowed, is_tiled=isinstance(task.networks.vae, InferenceVAE))]


def choose(task: Task) -> tuple[Plan, Sequence[Plan]]:
    """The plan with the fastest settings that fit, and those before it that do not.

    Raises UserError if none fits.
    """
    tried = []
    for settings in ways(task):
        plan = predict(task, settings)
        if plan.fits:
            return plan, tried
        tried.append(plan)
    if fitting := [plan for plan in tried if plan.fits_device]:
        least = min(fitting, key=lambda plan: plan.host)
        raise UserError(
            f"{task.film.size} needs {write_memory(least.host)} of the host's memory with {least.settings.describe()}, "
            f"and {write_memory(task.host_budget)} may be used; end other programs, use --weights int8, or ask for a "
            "smaller --short-side"
        )
    least = min(tried, key=lambda plan: plan.needed)
    raise UserError(
        f"{task.film.size} needs {write_memory(least.needed)} even with {least.settings.describe()}, and "
        f"{write_memory(task.budget)} of {task.device} may be used; ask for a smaller --short-side or "
        "a shorter --window, use --weights int8, or allow more with --max-memory"
    )
