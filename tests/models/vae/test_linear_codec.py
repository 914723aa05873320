"""The linear codec that VAE training starts from: exact Haar transforms, predictions that beat leaving details out."""

import pytest
import torch
from torch.nn.functional import conv2d

from seedvr2.models.vae.linear_codec import fit_changes, fit_codec, halved, lowest, merged, noise, split

COLOURS = [(0,), (1,), (2,)]


@pytest.fixture(scope="module")
def scales():
    """Noise like photographs that no codec was fitted to, and its bands after each of three halvings."""
    scales = [noise(torch.Generator().manual_seed(7), 1.2)]
    for _ in range(3):
        scales.append(split(scales[-1]))
    return scales


def names(halvings):
    paths = COLOURS
    for _ in range(halvings):
        paths = halved(paths)
    return paths


def decoded(codec, scales, given):
    """Luma and colour differences from latents."""
    known = conv2d(scales[2][:, [names(2).index(path) for path in given]], codec.analysis, stride=2)
    for kernel, paths in zip(codec.kernels, codec.signals, strict=True):
        known = conv2d(known, kernel, padding=1)
        if len(paths[0]) > 1:
            known = merged(known, paths)
    return known


def test_merging_undoes_splitting(scales):
    shuffled = names(1)[::-1]
    bands = scales[1].flip(1)
    assert torch.allclose(merged(bands, shuffled), scales[0], atol=1e-5)


@pytest.mark.parametrize("latents", [16, 19])
def test_predictions_beat_as_many_haar_bands(scales, latents):
    given = lowest(names(2), 18)
    codec = fit_codec(given, latents, [48, 48, 12])
    predicted = decoded(codec, scales, given)
    kept = lowest(names(3), latents)
    plain, paths = scales[3][:, [names(3).index(path) for path in kept]], kept
    for _ in range(3):
        plain, paths = merged(plain, paths), lowest({path[:-1] for path in paths}, len(paths))
    error, plain_error = ((result - scales[0]).square().mean() for result in (predicted, plain))
    assert error < 0.75 * plain_error


def test_patches_meet_without_steps(scales):
    given = lowest(names(2), 18)
    luma = decoded(fit_codec(given, 19, [48, 48, 12]), scales, given)[:, 0, :, 16:-16]
    steps = luma.diff(dim=-1).abs().mean(dim=(0, 1))
    assert steps[7::8].mean() < 1.5 * steps.mean()  # 2.3 with Haar bands alone


def test_latents_of_noise_have_the_told_deviations(scales):
    given = lowest(names(2), 18)
    codec = fit_codec(given, 12, [24, 24, 12])
    latents = conv2d(scales[2][:, [names(2).index(path) for path in given]], codec.analysis, stride=2)
    assert torch.allclose(latents.std(dim=(0, 2, 3))[1:], codec.deviations[1:], rtol=0.15)  # the mean hardly repeats


@pytest.mark.parametrize("room", [[12, 6, 3], [48, 6, 3]])
def test_less_room_is_used_up_and_respected(scales, room):
    given = lowest(names(2), 6)
    codec = fit_codec(given, 9, room)
    assert [len(paths) for paths in codec.signals] == [min(room[0], 24), *room[1:], 3]
    for paths, limit in zip(codec.signals[:3], (*room[1:], 3), strict=True):
        assert len({path[:-1] for path in paths}) <= limit
    assert decoded(codec, scales, given).shape == scales[0].shape


@pytest.mark.parametrize("bands", [1, 3])
def test_changes_are_predicted_at_both_scales(scales, bands):
    quarter, half = lowest(names(2), 24), lowest(names(1), 12)
    known = merged(scales[3][:, :bands], [(0, 0, 0, band) for band in range(bands)])
    for wanted, scale, kernel in zip((quarter, half), (2, 1), fit_changes(quarter, half, bands), strict=True):
        luma = [index for index, path in enumerate(wanted) if not path[0]]
        target = scales[scale][:, [names(scale).index(wanted[index]) for index in luma]]
        guess = conv2d(known, kernel, padding=1)
        assert (guess[:, luma] - target).square().mean() < 0.35 * target.square().mean()
        assert not guess[:, [index for index in range(len(wanted)) if index not in luma]].any()
        known = guess[:, :1].repeat_interleave(2, 2).repeat_interleave(2, 3)
