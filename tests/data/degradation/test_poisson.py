"""Properties of tabulated Poisson noise: at every brightness it has the distribution that its name says."""

import math

import numpy as np
import pytest

from seedvr2.data.degradation.poisson import photons_at_white, poisson_noise

SAMPLES = 60_000


def counts(level, photons, seed=0):
    """Photon counts of a picture of one grey level; the rest of it fixes how many levels there are."""
    picture = np.full(SAMPLES + photons, level, np.float32)
    others = np.round(np.linspace(0, 255, photons))
    others[np.abs(others - level).argmin()] = level
    picture[:photons] = others
    (noise,) = poisson_noise([picture[:, None] / np.float32(255)], seed)
    assert noise.shape == (SAMPLES + photons, 1)
    return np.rint((noise[photons:, 0].astype(float) + level / 255) * photons).astype(int)


@pytest.mark.parametrize("photons", [16, 256])
@pytest.mark.parametrize("level", [1, 10, 100, 255])
def test_moments_are_those_of_a_poisson_variable(level, photons):
    mean = level / 255 * photons
    drawn = counts(level, photons).astype(float)
    assert drawn.mean() == pytest.approx(mean, abs=5 * math.sqrt(mean / SAMPLES))
    spread = math.sqrt((1 / mean + 2) / SAMPLES)  # relative, of the variance
    assert drawn.var() == pytest.approx(mean, rel=5 * spread + 2e-3)
    skewness = (((drawn - mean) / math.sqrt(mean)) ** 3).mean()
    assert skewness == pytest.approx(1 / math.sqrt(mean), abs=0.06 + 0.1 / math.sqrt(mean))


@pytest.mark.parametrize("photons", [16, 256])
@pytest.mark.parametrize("level", [1, 10, 100, 255])
def test_frequencies_pass_a_chi_square_test(level, photons):
    mean = level / 255 * photons
    drawn = counts(level, photons, seed=1)
    values = np.arange(int(mean + 20 * math.sqrt(mean) + 20))
    chances = np.exp(values * math.log(mean) - mean - np.array([math.lgamma(value + 1) for value in values]))
    expected, found = SAMPLES * chances, np.bincount(drawn, minlength=len(values))
    common = expected >= 10
    expected = np.append(expected[common], expected[~common].sum() + 1e-9)
    found = np.append(found[common], found[~common].sum())
    statistic, freedom = ((found - expected) ** 2 / expected).sum(), len(expected) - 1
    # Four standard deviations above the mean of the distribution.
    assert freedom >= 2
    assert statistic < freedom + 4 * math.sqrt(2 * freedom) + 6
    # A test that a normal approximation fails where it is bad.
    if mean < 1:
        normal = np.rint(np.random.default_rng(0).normal(mean, math.sqrt(mean), SAMPLES)).clip(0).astype(int)
        found = np.bincount(normal, minlength=len(values))
        found = np.append(found[common], found[~common].sum())
        assert ((found - expected) ** 2 / expected).sum() > 100 * freedom


def test_white_has_as_many_photons_as_there_are_levels_rounded_up():
    for used, photons in ((1, 1), (2, 2), (3, 4), (16, 16), (17, 32), (256, 256)):
        levels = np.arange(512, dtype=int) % used
        assert photons_at_white(levels.astype(np.uint8)[:, None]) == photons
        assert photons_at_white(levels.astype(np.uint8)[:, None], 255) == 255 * photons


def test_more_photons_give_weaker_noise_and_frames_differ():
    ramp = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (64, 1))
    one, two = (noise.copy() for noise in poisson_noise([ramp, ramp], 0))
    (weak,) = poisson_noise([ramp], 0, domain=255)
    assert one[:, -1].std() / weak[:, -1].std() == pytest.approx(math.sqrt(255), rel=0.2)
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.05
    assert np.array_equal(one, next(iter(poisson_noise([ramp], 0))))
    assert not np.array_equal(one, next(iter(poisson_noise([ramp], 1))))
    assert np.all(one[:, 0] == 0)
