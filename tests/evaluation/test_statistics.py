"""Intervals cover what they claim, and tests agree with scipy's."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from seedvr2.evaluation.statistics import bootstrap_interval, finite_mean, wilcoxon, wins

KINDS = {
    "plain": lambda rng, n: (rng.normal(size=n), rng.normal(0.3, 1, n)),
    "ties": lambda rng, n: (rng.normal(size=n).round(1), rng.normal(0.3, 1, n).round(1)),
    "zeros": lambda rng, n: (rng.normal(size=n).round(), rng.normal(0.3, 1, n).round()),
    "one zero": lambda rng, n: (np.append(rng.normal(size=n - 1), 1), np.append(rng.normal(size=n - 1), 1)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [2, 5, 7, 14, 25, 26, 50, 51, 200])
def test_signed_rank_test_agrees_with_scipy(kind, size):
    rng = np.random.default_rng(size)
    checked = 0
    for _ in range(4):
        a, b = KINDS[kind](rng, size)
        if np.any(a != b):  # scipy's answer without any difference depends on the number of pairs
            assert wilcoxon(a, b) == pytest.approx(stats.wilcoxon(a, b).pvalue, rel=1e-9, abs=1e-12)
            checked += 1
    assert checked


@pytest.mark.parametrize("kind", ["ties", "zeros", "one zero"])
def test_ties_of_few_pairs_are_counted_over_all_signs(kind):
    a, b = KINDS[kind](np.random.default_rng(5), 13)
    ranks = stats.rankdata(np.abs((a - b)[a != b]))
    signs = np.array(list(itertools.product((0, 1), repeat=len(ranks))))
    sums, observed = signs @ ranks, ranks[(a - b)[a != b] > 0].sum()
    expected = 2 * min(np.mean(sums <= observed + 1e-9), np.mean(sums >= observed - 1e-9))
    assert wilcoxon(a, b) == pytest.approx(min(1, expected))


def test_signed_rank_test_ignores_direction_and_pairs_without_a_value():
    a, b = np.random.default_rng(0).normal(size=(2, 9))
    assert wilcoxon(a, b) == wilcoxon(b, a)
    assert wilcoxon(np.append(a, math.nan), np.append(b, 3)) == wilcoxon(a, b)
    assert wilcoxon(a, a) == wilcoxon([], []) == 1


def test_an_infinite_value_is_the_largest_difference():
    a, b = np.arange(8.0), np.arange(8.0) + np.array([1, 2, 3, 4, 5, -6, -7, 8])
    endless = np.where(np.arange(8) == 7, math.inf, b)
    assert wilcoxon(a, endless) == wilcoxon(a, b)
    assert wins([math.inf, math.inf, 1], [math.inf, 2, math.inf], "higher") == (1, 1, 1)


def test_wins_count_by_the_better_side():
    a, b = [1.0, 2.0, 3.0, 4.0, math.nan], [1.0, 1.0, 1.0, 5.0, 1.0]
    assert wins(a, b, "higher") == (2, 1, 1)
    assert wins(a, b, "lower") == (1, 1, 2)
    assert wins(b, a, "higher") == (1, 1, 2)


def test_bootstrap_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    for level in (0.5, 0.95):
        intervals = [bootstrap_interval(rng.gamma(4, size=60), level=level, draws=800) for _ in range(300)]
        covered = np.mean([low <= 4 <= high for low, high in intervals])
        assert abs(covered - level) < 4 * math.sqrt(level * (1 - level) / 300) + 0.01


def test_bootstrap_interval_agrees_with_scipy():
    values = np.random.default_rng(2).normal(30, 3, 40)
    ours = bootstrap_interval(values, draws=40_000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=40_000, method="percentile", rng=3).confidence_interval
    assert ours == pytest.approx(theirs, abs=0.03)  # of an interval of ±0.9: what different draws differ by


def test_bootstrap_interval_is_repeatable_and_moves_with_the_values():
    values = np.random.default_rng(4).normal(size=2500)  # needs several blocks of draws
    low, high = bootstrap_interval(values, draws=1000)
    assert (low, high) == bootstrap_interval(list(values), draws=1000)
    assert (low, high) != bootstrap_interval(values, draws=1000, seed=1)
    assert bootstrap_interval(2 * values + 5, draws=1000) == pytest.approx((2 * low + 5, 2 * high + 5))
    assert low < values.mean() < high
    assert bootstrap_interval([*values, math.inf, math.nan], draws=1000) == (low, high)


@pytest.mark.parametrize("values", [[], [3.0], [math.inf, 3.0], [math.nan, math.nan]])
def test_bootstrap_knows_nothing_of_a_single_clip(values):
    assert all(math.isnan(end) for end in bootstrap_interval(values))


def test_mean_leaves_out_what_is_not_finite_and_counts_it():
    assert finite_mean([1, 3, math.inf, math.nan, -math.inf]) == (2, 3)
    assert finite_mean([math.inf]) == (None, 1)
    assert finite_mean([]) == (None, 0)
