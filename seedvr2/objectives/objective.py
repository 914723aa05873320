"""What the trainer knows of a training method."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from seedvr2.data.batch import Batch

Metrics = dict[str, Tensor]
Recipe = Callable[..., nn.Module]


class Build(Protocol):
    """Makes networks, wherever and however they live."""

    device: torch.device
    average: Callable[[Tensor], Tensor]  # mean of one batch's values -> mean of the step's global batch

    def __call__(
        self,
        name: str,
        recipe: Recipe,
        weights: Path | None,
        *,
        trainable: bool = True,
        start: Callable[[nn.Module, torch.Generator], None] | None = None,
    ) -> nn.Module:
        """Build a network with the weights of a file, or with fresh ones seeded by `name`, then changed by `start`."""


class Weights(Protocol):
    """Where the networks of earlier stages lie."""

    def find(self, *names: str) -> Path | None:
        """First file among names like `generator` (the latest) or `base/generator` (of one stage)."""

    def require(self, *names: str, purpose: str) -> Path:
        """The same, but a clear error if there is none."""

    def latent_scale(self, path: Path) -> float:
        """Factor that a VAE's file gives its latents."""


class Exported(NamedTuple):
    """A network to write to a file, the recipe to build it again, and facts its users need."""

    network: nn.Module
    recipe: Recipe
    facts: Mapping[str, float | str] = {}


class Objective(Protocol):
    """A training method. It owns its trainees, and one `step` updates them all.

    It may also have `diagnose(batches) -> Metrics`, measured now and then on the batches of a step, and
    `validate(batch, made) -> Metrics`, on the clips of `preview` and what it made of them; neither trains.
    """

    stateful: Mapping[str, object]  # trainees and other things with state_dict and load_state_dict, by name

    def step(self, batches: Sequence[Batch]) -> Metrics:
        """One training step on the micro-batches of a global batch."""

    def preview(self, batch: Batch) -> list[Tensor]:
        """What the averaged networks make of a batch, in the form of `batch.hq`."""

    def export(self) -> dict[str, Exported]:
        """Networks of this stage by name; called while averaged weights are in place."""

    def averaged(self):
        """Context in which the networks carry their averaged weights."""
