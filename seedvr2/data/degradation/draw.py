"""What one application of a degradation carries along: its generator, target size and record of drawn parameters."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from seedvr2.errors import UserError

Range = tuple[float, float]
Clip = np.ndarray | Tensor


class Draw:
    """The random generator of one clip, the size its degradation must reach, and the parameters drawn so far.

    `target` is (height, width) in pixels. `record` receives one plain dict per applied operation, in order.
    """

    def __init__(self, rng: np.random.Generator, target: tuple[int, int], record: list[dict] | None = None):
        self.rng = rng
        self.target = target
        self.record = [] if record is None else record

    def happens(self, probability: float) -> bool:
        """Whether an event of this probability takes place; one draw even when it is certain."""
        return bool(self.rng.random() < probability)

    def uniform(self, span: Range) -> float:
        """A number drawn uniformly from a range."""
        return float(self.rng.uniform(*span))

    def choose(self, odds: Mapping[str, float]) -> str:
        """A name drawn with its odds, which need not sum to one."""
        weights = np.array(list(odds.values()))
        return list(odds)[int(self.rng.choice(len(weights), p=weights / weights.sum()))]

    def seed(self) -> int:
        """A seed for the many numbers of an operation, so that one draw stands for them, whoever makes them."""
        return int(self.rng.integers(2**63))

    def walk(self, span: Range, step: float, *, frames: int) -> list[float]:
        """One value per frame: a uniform start, then steps of at most `step` either way, kept inside the range."""
        values = [self.uniform(span)]
        for move in self.rng.uniform(-step, step, frames - 1):
            values.append(float(np.clip(values[-1] + move, *span)))
        return values


class Operation(Protocol):
    """One step of a degradation: float32 (T,H,W,3) RGB, nominally in [0,1], to the same at a possibly other size.

    Values may leave [0,1] between steps; what needs 8 bits clips and rounds first. Operations with a true attribute
    `takes_tensors` also turn a tensor of any device into one there, with the same parameters for the same generator.
    """

    def __call__(self, clip: np.ndarray, draw: Draw) -> np.ndarray: ...


def apply(operation: Operation, clip: Clip, draw: Draw) -> Clip:
    """The clip after an operation, of the same kind: tensors visit the CPU for operations that only take arrays."""
    if isinstance(clip, np.ndarray) or getattr(operation, "takes_tensors", False):
        return operation(clip, draw)
    return torch.from_numpy(np.ascontiguousarray(operation(clip.cpu().numpy(), draw))).to(clip.device)


def span_of(name: str, values: Sequence[float]) -> Range:
    """A checked (low, high) pair from a configuration list; raises UserError if it is not an ordered pair."""
    try:
        low, high = (float(value) for value in values)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if isinstance(values, str) or not low <= high:
        raise UserError(f"{name} is {values!r}; give two numbers [low, high]")
    return low, high


def odds_of(name: str, odds: Mapping[str, float], allowed: Sequence[str]) -> dict[str, float]:
    """Checked odds per name from a configuration mapping; raises UserError for unknown names or useless numbers."""
    try:
        odds = {str(key): float(value) for key, value in odds.items()}
    except (AttributeError, TypeError, ValueError):
        raise UserError(f"{name} is {odds!r}; give odds by name, such as {allowed[0]}: 1.0") from None
    unknown = sorted(set(odds) - set(allowed))
    if unknown:
        raise UserError(f"{name} has the unknown entry {unknown[0]!r}; choose from {', '.join(allowed)}")
    if any(value < 0 for value in odds.values()) or sum(odds.values()) <= 0:
        raise UserError(f"{name} is {odds}; give odds that are not negative and not all zero")
    return odds


def steps_of(drift: Mapping[str, float] | None, allowed: Sequence[str]) -> dict[str, float]:
    """The largest change per frame of each parameter, zero where absent; raises UserError for unknown names."""
    steps = dict.fromkeys(allowed, 0.0)
    if not isinstance(drift or {}, Mapping):
        raise UserError(f"drift is {drift!r}; give steps by name, of {', '.join(allowed)}")
    for name, step in (drift or {}).items():
        if name not in steps or not isinstance(step, int | float) or not step >= 0:
            raise UserError(f"drift has the entry {name}: {step}; give steps >= 0 of {', '.join(allowed)}")
        steps[name] = float(step)
    return steps


def to_bytes(frame: Clip) -> Clip:
    """A float32 array in [0,1] as uint8 of the same shape: clipped, because values would wrap around, and rounded."""
    if isinstance(frame, Tensor):
        return (frame.clamp(0, 1) * 255).round().to(torch.uint8)
    positive = np.maximum(frame, np.float32(0))
    # The scaled absolute value saturates at 255.
    return cv2.convertScaleAbs(positive.reshape(-1, frame.shape[-1]), alpha=255.0).reshape(frame.shape)


def to_floats(frame: Clip) -> Clip:
    """The uint8 frame as float32 in [0,1]."""
    if isinstance(frame, Tensor):
        return frame.float() / 255
    return frame.astype(np.float32) / np.float32(255)
