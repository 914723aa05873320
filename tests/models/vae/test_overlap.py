"""A codec whose patches overlap: what is wrong in its latents costs less, and shows less where patches meet."""

import pytest
import torch
from torch.nn.functional import conv2d

from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.linear_codec import all_paths, fit_changes, fit_codec, lowest, noise, ramps
from seedvr2.models.vae.overlap import overlapping, refitted
from seedvr2.models.vae.start import start_as_codec

HALF, QUARTER = tuple(all_paths(1)), tuple(lowest(all_paths(2), 18))


@pytest.fixture(scope="module")
def codecs():
    """The closed form and the codec after a few updates."""
    closed = fit_codec(HALF, QUARTER, 12, (24, 18, 12))
    return closed, overlapping(closed, 200, errors=0.3)


@pytest.fixture(scope="module")
def pictures():
    """Noise like photographs that no codec was fitted to."""
    return noise(torch.Generator().manual_seed(7), 1.2)


@pytest.fixture(scope="module")
def latents():
    """Wrong latents, each token of 2 x 2 for itself, as a generator makes them."""
    draws = torch.randn(4, 12, 8, 8, generator=torch.Generator().manual_seed(3))
    return draws.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_errors_in_latents_cost_less(codecs, latents):
    closed, overlap = (codec.decode(latents).square().mean() for codec in codecs)
    assert overlap < 0.9 * closed


def test_tokens_meet_with_smaller_steps(codecs, latents):
    shares = []
    for codec in codecs:
        steps = codec.decode(latents)[:, 0].diff(dim=-1).abs().mean(dim=(0, 1))
        shares.append(steps[15::16].mean() / steps.mean())
    assert shares[1] < 0.97 * shares[0]


def test_pictures_come_back_hardly_worse(codecs, pictures):
    closed, overlap = (
        (codec.decode(codec.encode(pictures)) - pictures)[..., 16:-16, 16:-16].square().mean() for codec in codecs
    )
    assert overlap < 1.1 * closed


def test_latents_of_noise_have_unit_deviation(codecs, pictures):
    deviations = codecs[1].encode(pictures).std(dim=(0, 2, 3))
    assert torch.allclose(deviations[1:], torch.ones(11), rtol=0.2)


def test_one_value_comes_back_as_one_value(codecs):
    flat = ramps(12)[:3]
    made = codecs[1].decode(codecs[1].encode(flat))[..., 32:-32, 32:-32]
    assert (made - flat[..., 32:-32, 32:-32]).abs().max() < 0.01


def test_the_mean_luma_stays_what_motion_is_measured_by(codecs):
    for before, after in zip(codecs[0].analysis[:2], codecs[1].analysis[:2], strict=True):
        assert torch.equal(after[0, :, :2, :2], before[0])
        assert not after[0, :, 2].any()
        assert not torch.equal(after[1, :, :2, :2], before[1])


def test_changes_are_fitted_to_the_signals_of_the_codec(codecs):
    _, codec = codecs
    before = fit_changes(*map(tuple, codec.signals[1:3]), 3)
    after, errors = refitted(before, codec), []
    for changes in (before, after):
        made = codec.finished(conv2d(changes.known, changes.quarter, padding=1), 2)
        finer = codec.finished(conv2d(changes.known_at_half(), changes.half, padding=1), 1)
        errors.append([(each - changes.planes).square().mean() for each in (made, finer)])
    assert all(new < old for old, new in zip(*errors, strict=True))


def test_a_vae_starts_as_that_codec(pictures):
    vae = VideoVAE((32, 32, 48, 64), layers=1, groups=8, latent_channels=20)
    start_as_codec(vae, torch.Generator().manual_seed(0), overlap=5)
    vae.eval().requires_grad_(False)
    frames = pictures[:2, :, None].clamp(-1, 1)
    error = (vae.decode(vae.encode(frames).mean) - frames)[..., 16:-16, 16:-16].square().mean()
    assert error < 0.2 * frames.square().mean()
