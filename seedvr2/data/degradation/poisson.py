"""Poisson noise of 8-bit pictures from tables of quantiles, many times faster than drawing every pixel by itself.

The brightness has 256 levels and the number of photons at white is a power of two, so that few distributions exist.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import cv2
import numpy as np
import torch

from seedvr2.data.degradation.draw import to_bytes

BITS = 14  # a quantile per 2^-14 of probability: standard deviations come out right within 0.1 %
WIDTH = 8.0  # standard deviations, beyond which there is less probability than a quantile


def photons_at_white(levels: np.ndarray, domain: int = 1) -> int:
    """The number of grey levels in a uint8 picture, rounded up to a power of two, times the `domain`."""
    histogram = cv2.calcHist([np.ascontiguousarray(levels).reshape(-1, 1)], [0], None, [256], [0, 256])
    return (1 << (int(np.count_nonzero(histogram)) - 1).bit_length()) * domain


def poisson_noise(pictures: Iterable[np.ndarray], seed: int, *, domain: int = 1) -> Iterator[np.ndarray]:
    """Yield Poisson(v x)/v - x of each float32 picture x, rounded to 8 bits: float32 of its shape, good until the next.

    v: see `photons_at_white`. All pictures have one shape.
    """
    rng = np.random.default_rng(seed)
    places = noise = None
    for picture in pictures:
        levels = to_bytes(picture)
        if places is None:  # memory is used again, as fresh memory is slow
            places, noise = np.empty(levels.shape, np.int32), torch.empty(levels.size)
        shares = np.frombuffer(rng.bytes(2 * levels.size), np.uint16).reshape(levels.shape)
        np.multiply(levels, 1 << BITS, out=places, dtype=np.int32)
        np.bitwise_or(places, shares & ((1 << BITS) - 1), out=places, casting="unsafe")
        table = _quantiles(photons_at_white(levels, domain))
        torch.index_select(table, 0, torch.from_numpy(places.reshape(-1)), out=noise)
        yield noise.numpy().reshape(levels.shape)


@lru_cache(maxsize=3)
def _quantiles(photons: int) -> torch.Tensor:
    # float32 (256 · 2^BITS,): for each level the quantiles of its noise at the middles of equal shares of probability.
    rows = [_noise_of(level / 255, photons) for level in range(256)]
    return torch.from_numpy(np.concatenate(rows).astype(np.float32))


def _noise_of(brightness: float, photons: int) -> np.ndarray:
    mean = brightness * photons
    reach = WIDTH * (np.sqrt(mean) + 1)
    counts = np.arange(max(np.floor(mean - reach), 0), np.ceil(mean + reach) + 1)
    # P(X <= k) of a Poisson variable is the regularised upper incomplete gamma function Q(k + 1, mean).
    below = torch.special.gammaincc(torch.from_numpy(counts + 1), torch.tensor(mean, dtype=torch.float64)).numpy()
    ends = np.floor(below * (1 << BITS) + 0.5).astype(int)
    ends[-1] = 1 << BITS
    return np.repeat(counts / photons - brightness, np.diff(ends, prepend=0))
