"""Properties of blur, ringing and sharpening of clips."""

import numpy as np
import pytest

from seedvr2.data.degradation.blur import KINDS, Blur, Sharpen
from seedvr2.data.degradation.draw import Draw
from seedvr2.errors import UserError


def draw(seed=0):
    return Draw(np.random.default_rng(seed), (8, 8))


def clip(frames=4, height=24, width=20, seed=5):
    return np.random.default_rng(seed).random((frames, height, width, 3), dtype=np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_the_mean_and_size(kind):
    flat = np.full((2, 5, 3, 3), 0.3, np.float32)
    assert np.allclose(Blur(1.0, {kind: 1.0})(flat, draw()), 0.3, atol=1e-5)
    picture = clip()
    blurred = Blur(1.0, {kind: 1.0}, sigma=(2, 2), cutoff=(1.2, 1.2), cutoff_wide=(1.2, 1.2))(picture, draw())
    assert blurred.shape == picture.shape
    assert blurred.dtype == np.float32
    assert blurred.std() < 0.8 * picture.std()


def test_without_drift_all_frames_get_one_kernel_and_with_drift_they_do_not():
    still = np.repeat(clip(1), 5, axis=0)
    constant = Blur(1.0, {"aniso": 1.0})(still, draw())
    assert np.array_equal(constant, np.repeat(constant[:1], 5, axis=0))
    drifting = Blur(1.0, {"aniso": 1.0}, drift={"rotation": 0.3})(still, draw())
    assert all(not np.array_equal(drifting[0], frame) for frame in drifting[1:])


def test_drift_stays_within_its_step_and_range():
    one = draw()
    Blur(1.0, {"iso": 1.0}, sigma=(0.2, 0.6), drift={"sigma": 0.15})(clip(200, 8, 8), one)
    sigma = np.array(one.record[0]["sigma_x"])
    assert sigma.min() >= 0.2
    assert sigma.max() <= 0.6
    assert 0.05 < np.abs(np.diff(sigma)).max() <= 0.15


def test_wide_sinc_kernels_use_their_own_range():
    sizes = {"small": [], "wide": []}
    for seed in range(150):
        one = draw(seed)
        Blur(1.0, {"sinc": 1.0}, cutoff=(3, 3), cutoff_wide=(1, 1))(clip(1, 8, 8), one)
        entry = one.record[0]
        sizes["wide" if entry["cutoff"] == [1] else "small"].append(entry["size"])
    assert max(sizes["small"]) < 13 <= min(sizes["wide"])
    assert set(sizes["small"] + sizes["wide"]) == set(range(7, 22, 2))


def test_probability_zero_changes_nothing_but_the_generator_moves_on():
    picture = clip()
    one = draw()
    assert Blur(0.0)(picture, one) is picture
    assert one.record == []
    assert one.rng.random() != np.random.default_rng(0).random()


def test_sharpening_raises_contrast_at_edges_only():
    step = np.full((1, 64, 64, 3), 0.2, np.float32)
    step[:, :, 32:] = 0.7
    sharp = Sharpen()(step, draw())
    assert sharp[0, 32, 32, 0] > 0.72
    assert sharp[0, 32, 31, 0] < 0.18
    flat = np.full((1, 64, 64, 3), 0.2, np.float32)
    assert np.allclose(Sharpen()(flat, draw()), flat, atol=1e-6)


def test_wrong_parameters_are_named():
    for wrong in ({"kinds": {"box": 1}}, {"kinds": {"iso": 0}}, {"sigma": (3, 1)}, {"drift": {"size": 1}}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            Blur(**wrong)
    with pytest.raises(UserError, match="kernel_size"):
        Blur(kernel_size=(8, 8))
