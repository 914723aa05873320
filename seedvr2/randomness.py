"""Random draws as pure functions of a key, so that nothing depends on ranks, workers, order or history.

A key is any tuple of strings and integers, usually (seed, stage, step, position in the global batch, purpose).
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

Key = tuple[str | int, ...]


def seed_of(*key: str | int) -> int:
    """A 63-bit seed that is the same on every machine and in every process."""
    plain = tuple(part if isinstance(part, str) else int(part) for part in key)  # a numpy 3 is a 3
    digest = hashlib.blake2b(repr(plain).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def torch_generator(*key: str | int) -> torch.Generator:
    """A CPU generator seeded by the key."""
    return torch.Generator().manual_seed(seed_of(*key))


def numpy_generator(*key: str | int) -> np.random.Generator:
    """A numpy generator seeded by the key."""
    return np.random.default_rng(seed_of(*key))


class Draws:
    """The random draws of one sample; each purpose has its own stream."""

    def __init__(self, *key: str | int):
        self.key: Key = key

    def normal(self, purpose: str, like: Tensor) -> Tensor:
        """Standard normal values with the shape, type and device of `like` (drawn in fp32 on the CPU)."""
        return torch.randn(like.shape, generator=torch_generator(*self.key, purpose)).to(like)

    def uniform(self, purpose: str) -> float:
        """One value in [0, 1)."""
        return float(torch.rand((), generator=torch_generator(*self.key, purpose), dtype=torch.float64))
