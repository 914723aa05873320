"""What one training step of an objective computes: networks, passes and updates, for planning without running."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from seedvr2.objectives.objective import Recipe


@dataclass(frozen=True)
class Pass:
    """A forward pass of a network on all clips of a micro-batch, and the backward pass that belongs to it.

    samples: versions of each clip that are packed into one call. times: such calls one after the other. grad: none (no
    backward pass), inputs (gradients pass through a frozen network) or weights.
    """

    network: str
    grad: Literal["none", "inputs", "weights"] = "none"
    samples: int = 1
    times: int = 1


@dataclass(frozen=True)
class Learner:
    """A network with an optimizer. optimizer: its recipe. averaged: whether an EMA of its weights is kept."""

    network: str
    optimizer: Callable
    averaged: bool = False


@dataclass(frozen=True)
class Workload:
    """A step. networks: recipes by name. learners: who learns; all other networks are frozen.

    updates: by name, the passes of each update in their order. prompts: recipe of the text embeddings, None without
    text. pixels: the networks eat frames, not latents. borrowed: networks whose frozen weights are another's.
    """

    networks: Mapping[str, Recipe]
    learners: Sequence[Learner]
    updates: Mapping[str, Sequence[Pass]]
    prompts: Recipe | None = None
    pixels: bool = False
    borrowed: Sequence[str] = ()
    left_out: Sequence[str] = ()  # parts too small to be priced, by name
