"""How sure a difference between restorations is: bootstrap intervals and paired tests over clips.

The unit is the clip, because frames of a clip are not independent.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

_EXACT = 50  # pairs up to which all sign patterns are counted
_EXACT_WITH_TIES = 13  # the same where differences are equal or zero, as scipy does
_BLOCK = 1_000_000  # drawn values held at a time


def finite_mean(values: ArrayLike) -> tuple[float | None, int]:
    """The mean of the finite values (None without any) and how many values were left out of it."""
    values = np.asarray(values, np.float64).ravel()
    finite = values[np.isfinite(values)]
    return (float(finite.mean()) if len(finite) else None), len(values) - len(finite)


def bootstrap_interval(
    values: ArrayLike, *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of (N,) clip values; equal arguments give equal results.

    Values that are not finite are left out; with fewer than two others nothing is known of the spread, and both ends
    are NaN. Few clips make the interval too short (with 10 clips a 95 % interval covers about 90 %).
    """
    assert 0 < level < 1, level
    values = np.asarray(values, np.float64).ravel()
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(values))
    counts = [min(block, draws - start) for start in range(0, draws, block)]
    means = np.concatenate([values[rng.integers(len(values), size=(count, len(values)))].mean(1) for count in counts])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wins(a: ArrayLike, b: ArrayLike, better: str) -> tuple[int, int, int]:
    """On how many clips a is better than, equal to, and worse than b; (N,) paired values.

    `better` is "higher" or "lower". Pairs with a NaN are left out; two infinities of one sign are equal.
    """
    assert better in ("higher", "lower"), better
    difference = _differences(a, b)
    above, equal, below = (int(np.sum(part)) for part in (difference > 0, difference == 0, difference < 0))
    return (above, equal, below) if better == "higher" else (below, equal, above)


def wilcoxon(a: ArrayLike, b: ArrayLike) -> float:
    """Two-sided p of Wilcoxon's signed-rank test of (N,) paired values, as scipy.stats.wilcoxon's default.

    Zero differences are dropped, equal ones share their mean rank. The distribution is exact up to 50 pairs, or up to
    13 where there are ties or zeros; beyond, it is normal with the variance corrected for ties, without continuity
    correction. Pairs with a NaN are left out. Without any difference, or any pair, p is 1.
    """
    difference = _differences(a, b)
    size, nonzero = len(difference), difference[difference != 0]
    if len(nonzero) == 0:
        return 1.0
    ranks, counts = _ranks(np.abs(nonzero))
    positive = float(ranks[nonzero > 0].sum())
    tied = counts.max() > 1 or len(nonzero) < size
    if size <= (_EXACT_WITH_TIES if tied else _EXACT):
        return _exact(ranks, positive)
    return _normal(len(ranks), counts, positive)


def _differences(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    assert a.shape == b.shape, f"{a.shape} against {b.shape}"
    difference = np.zeros_like(a)  # equal infinities differ by zero
    np.subtract(a, b, out=difference, where=a != b)
    return difference[~np.isnan(difference)]


def _ranks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Ranks from 1, equal values sharing their mean rank, and the sizes of the groups of equal values.
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[group], counts


def _exact(ranks: np.ndarray, positive: float) -> float:
    # Counts the sign patterns by their doubled rank sum (doubled, because shared ranks may be halves).
    doubled = np.rint(2 * ranks).astype(int)
    ways = np.zeros(doubled.sum() + 1)
    ways[0] = 1
    for rank in doubled:
        ways[rank:] = ways[rank:] + ways[:-rank]
    observed = round(2 * positive)
    tail = min(ways[: observed + 1].sum(), ways[observed:].sum())
    return min(1.0, float(2 * tail / 2.0 ** len(ranks)))


def _normal(number: int, counts: np.ndarray, positive: float) -> float:
    mean = number * (number + 1) / 4
    variance = (number * (number + 1) * (2 * number + 1) - np.sum(counts.astype(float) ** 3 - counts) / 2) / 24
    return math.erfc(abs(positive - mean) / math.sqrt(2 * variance))
