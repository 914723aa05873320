"""Random generators named by a key, so that a sample depends on what it is and not on who draws it or when."""

import hashlib

import numpy as np

Key = tuple[str | int, ...]


def key_seed(*key: str | int) -> int:
    """A stable 64-bit seed of a key; ("a", 1) and ("a", "1") differ, as do ("ab",) and ("a", "b")."""
    digest = hashlib.blake2b(digest_size=8)
    for part in key:
        if not isinstance(part, str):
            part = int(part)
        text = f"{type(part).__name__}:{part}".encode()
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text)
    return int.from_bytes(digest.digest(), "little")


def numpy_generator(*key: str | int) -> np.random.Generator:
    """A NumPy generator that starts at the seed of the key."""
    return np.random.Generator(np.random.PCG64(key_seed(*key)))
