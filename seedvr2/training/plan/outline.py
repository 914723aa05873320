"""A stage as numbers: its networks on the meta device, its shapes and its step."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn

from seedvr2.data.shapes import Buckets
from seedvr2.errors import UserError
from seedvr2.models.dit import Trunk
from seedvr2.objectives.workload import Workload
from seedvr2.training.feed import CHUNK
from seedvr2.training.stage import Stage


class Outline(NamedTuple):
    """A stage before it exists. shapes: of its clips. text: tokens of the longest prompt. vae: of a latent feed, None
    where pixels are trained on. chunk: latent frames in one pass through it. cached: latents are encoded once and kept.
    """

    stage: Stage
    workload: Workload
    networks: Mapping[str, nn.Module]
    shapes: Sequence
    text: int
    vae: nn.Module | None
    chunk: int
    cached: bool

    @property
    def heads(self) -> dict[str, int]:
        """Attention heads of every network that has any."""
        trunks = {name: getattr(network, "trunk", None) for name, network in self.networks.items()}
        return {name: trunk.heads for name, trunk in trunks.items() if isinstance(trunk, Trunk)}


def outline(stage: Stage) -> Outline:
    """Read a stage's recipes; networks are built on the meta device, equal recipes once per process.

    Raises UserError for an objective that does not say what it computes.
    """
    if not describes_itself(stage):
        raise UserError(f"the objective of stage {stage.name} has no classmethod `workload`: give it one to plan it")
    objective, feed = _parts(stage.objective), _parts(stage.feed)
    workload = objective[0].workload(**objective[1])
    networks = {name: on_meta(recipe) for name, recipe in workload.networks.items()}
    prompts = on_meta(workload.prompts) if workload.prompts else None
    text = max((len(table) for table in prompts.parameters()), default=0) if prompts else 0
    if prompts is not None:
        networks["prompts"] = prompts
    vae, shapes = feed[1].get("vae"), _parts(feed[1]["pairs"])[1]["shapes"]
    return Outline(
        stage,
        workload,
        networks,
        shapes.shapes() if isinstance(shapes, Buckets) else shapes,
        text,
        on_meta(vae) if vae else None,
        feed[1].get("chunk", CHUNK),
        feed[1].get("pool") is not None or feed[1].get("cache") is not None,
    )


def describes_itself(stage: Stage) -> bool:
    """Whether a stage's objective says what a step computes."""
    return hasattr(_parts(stage.objective)[0], "workload")


def on_meta(recipe: Callable[[], nn.Module]) -> nn.Module:
    """Network of a recipe on the meta device."""
    key = _key(recipe)
    if key not in _built:
        with torch.device("meta"):
            _built[key] = recipe()
    return _built[key]


_built: dict[str, nn.Module] = {}


def _key(value) -> str:
    # Recipes are equal if they call the same thing with the same arguments.
    if isinstance(value, functools.partial):
        arguments = ",".join(f"{name}={_key(part)}" for name, part in sorted(value.keywords.items()))
        return f"{value.func.__module__}.{value.func.__qualname__}({arguments})"
    if isinstance(value, type) or inspect.isfunction(value):
        return f"{value.__module__}.{value.__qualname__}"
    if inside := getattr(value, "__dict__", None):
        return f"{type(value).__qualname__}({sorted(inside.items())})"
    return repr(value)


def _parts(recipe: Callable) -> tuple[Callable, Mapping]:
    # What a recipe calls in the end, and with which arguments.
    arguments: dict = {}
    while isinstance(recipe, functools.partial):
        arguments = {**recipe.keywords, **arguments}
        recipe = recipe.func
    return recipe, arguments
