"""Properties of noise: its strength is the requested one."""

import numpy as np
import pytest

from seedvr2.data.degradation.draw import Draw
from seedvr2.data.degradation.noise import Noise


def add(clip, **options):
    draw = Draw(np.random.default_rng(3), (1, 1))
    noise = Noise(**options)(clip, draw) - clip
    return noise, draw.record[0]


def ramp(frames=2, side=128):
    clip = np.empty((frames, side, side, 3), np.float32)
    clip[:] = (np.arange(side * side) % 256).reshape(side, side, 1) / np.float32(255)
    return clip


@pytest.mark.parametrize("sigma", [1.0, 12.0, 30.0])
def test_gaussian_noise_has_the_requested_deviation(sigma):
    noise, _ = add(ramp(), kinds={"gaussian": 1}, sigma=(sigma, sigma), gray=0)
    assert noise.std() * 255 == pytest.approx(sigma, rel=0.02)
    assert abs(noise.mean() * 255) < 0.02 * sigma + 0.02


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_poisson_noise_has_the_variance_of_its_brightness(scale):
    noise, _ = add(ramp(), kinds={"poisson": 1}, scale=(scale, scale), gray=0)
    # 256 levels: variance x/256 on [0,1], the stronger of the two published readings.
    for level in (0.25, 1.0):
        near = np.abs(ramp() - level) < 0.02
        assert noise[near].std() == pytest.approx(scale * np.sqrt(level / 256), rel=0.08)
    assert np.all(noise[ramp() == 0] == 0)


def test_fewer_levels_give_stronger_poisson_noise():
    coarse = np.round(ramp() * 3) / np.float32(3)
    weak, _ = add(ramp(), kinds={"poisson": 1}, scale=(1, 1), gray=0)
    strong, _ = add(coarse, kinds={"poisson": 1}, scale=(1, 1), gray=0)
    assert strong.std() > 5 * weak.std()


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_gray_noise_is_equal_in_all_channels_and_coloured_noise_is_not(kind):
    for gray in (0, 1):
        noise, entry = add(ramp(), kinds={kind: 1}, gray=gray)
        assert entry["gray"] == bool(gray)
        assert np.allclose(noise[..., 0], noise[..., 1], atol=1e-6) == bool(gray)


def test_frames_get_independent_noise_and_drifting_strength():
    noise, entry = add(ramp(), kinds={"gaussian": 1}, sigma=(5, 30), gray=0, drift={"sigma": 4})
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02
    measured = [frame.std() * 255 for frame in noise]
    assert measured == pytest.approx(entry["sigma"], rel=0.03)
    assert entry["sigma"][0] != entry["sigma"][1]


@pytest.mark.parametrize("domain", [1, 255])
def test_normal_noise_has_the_variance_of_poisson_noise(domain):
    exact, _ = add(ramp(), kinds={"poisson": 1}, scale=(1, 1), gray=0, poisson_domain=domain)
    normal, _ = add(ramp(), kinds={"poisson": 1}, scale=(1, 1), gray=0, poisson_domain=domain, exact_poisson=False)
    assert not np.array_equal(exact, normal)
    for level in (0.25, 0.5, 1.0):
        near = np.abs(ramp() - level) < 0.05
        assert normal[near].std() == pytest.approx(exact[near].std(), rel=0.05)
        assert exact[near].std() == pytest.approx(np.sqrt(level / 256 / domain), rel=0.1)


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_the_size_of_a_clip_does_not_change_what_is_drawn_next(kind):
    following = set()
    for side in (8, 32):
        draw = Draw(np.random.default_rng(3), (1, 1))
        Noise({kind: 1})(ramp(side=side), draw)
        following.add(draw.rng.random())
    assert len(following) == 1


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
@pytest.mark.parametrize("gray", [0, 1])
def test_the_given_clip_is_left_alone(kind, gray):
    clip = ramp(side=16)
    before = clip.copy()
    Noise({kind: 1}, gray=gray)(clip, Draw(np.random.default_rng(3), (1, 1)))
    assert np.array_equal(clip, before)
