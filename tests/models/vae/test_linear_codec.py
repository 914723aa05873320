"""The linear codec that VAE training starts from: exact Haar transforms, predictions that beat leaving details out."""

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d

from seedvr2.data.procedural import ProceduralClips
from seedvr2.models.vae.linear_codec import (
    COLOURS,
    ENERGIES,
    all_paths,
    carried,
    fit_changes,
    fit_codec,
    lowest,
    merged,
    noise,
    parents,
    pyramid,
    select,
)

HALF, QUARTER, ROOM = tuple(all_paths(1)), tuple(lowest(all_paths(2), 18)), (48, 48, 12)


@pytest.fixture(scope="module")
def scales():
    """Noise like photographs that no codec was fitted to, and its bands after each of three halvings."""
    return pyramid(noise(torch.Generator().manual_seed(7), 1.2))


@pytest.fixture(scope="module")
def drawn():
    """The same of drawn pictures."""
    clips = [ProceduralClips().clip(np.random.default_rng(i), 1, 128, 128)[0] for i in range(8)]
    frames = torch.from_numpy(np.stack(clips)).movedim(-1, 1).float() * 2 - 1
    return pyramid(torch.einsum("pc,nchw->nphw", COLOURS / ENERGIES[:, None], frames))


def through(codec, scales):
    """Luma and colour differences from latents."""
    return codec.decode(codec.encode(scales[0]))


def haar_bands(scales, latents):
    """Planes from that many bands of lowest frequency alone."""
    paths = lowest(all_paths(3), latents)
    known = select(scales[3], paths)
    for _ in range(3):
        known, paths = merged(known, paths), parents(paths)
    return known


def test_merging_undoes_splitting(scales):
    assert torch.allclose(merged(scales[1].flip(1), all_paths(1)[::-1]), scales[0], atol=1e-5)


@pytest.mark.parametrize("latents", [16, 19])
def test_predictions_beat_as_many_haar_bands(scales, latents):
    predicted, plain = through(fit_codec(HALF, QUARTER, latents, ROOM), scales), haar_bands(scales, latents)
    error, plain_error = ((result - scales[0]).square().mean() for result in (predicted, plain))
    assert error < 0.75 * plain_error


def test_pictures_with_hard_edges_lose_little_by_the_fit_to_noise(drawn):
    predicted, plain = through(fit_codec(HALF, QUARTER, 19, ROOM), drawn), haar_bands(drawn, 19)
    error, plain_error = ((result - drawn[0]).square().mean() for result in (predicted, plain))
    assert error < 1.1 * plain_error


def test_patches_meet_without_steps(scales):
    luma = through(fit_codec(HALF, QUARTER, 19, ROOM), scales)[:, 0, :, 16:-16]
    steps = luma.diff(dim=-1).abs().mean(dim=(0, 1))
    assert steps[7::8].mean() < 1.5 * steps.mean()  # 2.3 with Haar bands alone


@pytest.mark.parametrize("latents", [1, 3, 4, 5, 12])
def test_few_latents_do_no_harm(scales, latents):
    errors = through(fit_codec(HALF, QUARTER, latents, ROOM), scales) - scales[0]
    assert (errors.square().mean(dim=(0, 2, 3)) < 1.05 * scales[0].square().mean(dim=(0, 2, 3))).all()


def test_latents_of_noise_have_unit_deviation(scales):
    deviations = fit_codec(HALF, QUARTER, 12, ROOM).encode(scales[0]).std(dim=(0, 2, 3))
    assert deviations[0] == pytest.approx(1, rel=0.4)  # the mean luma of so few pictures varies
    assert torch.allclose(deviations[1:], torch.ones(11), rtol=0.15)


@pytest.mark.parametrize("room", [(12, 6, 3), (48, 6, 3)])
def test_less_room_is_used_up_and_respected(scales, room):
    codec = fit_codec(HALF, tuple(lowest(all_paths(2), 6)), 9, room)
    assert codec.signals == carried(room)
    assert [len(paths) for paths in codec.signals] == [min(room[0], 24), *room[1:], 3]
    for paths, finer in zip(codec.signals, codec.signals[1:], strict=False):
        assert set(parents(paths)) <= set(finer)
    assert through(codec, scales).shape == scales[0].shape


@pytest.mark.parametrize("bands", [1, 3])
def test_predicted_changes_beat_repeated_means(bands):
    scales = pyramid(noise(torch.Generator().manual_seed(8), 0.9))  # changes are rougher than pictures
    quarter, half = tuple(lowest(all_paths(2), 24)), tuple(lowest(all_paths(1), 12))
    lumas = [(0, 0, 0, band) for band in range(bands)]
    changes = fit_changes(quarter, half, bands)._replace(known=merged(select(scales[3], lumas), lumas))
    for wanted, scale, known, kernel in (
        (quarter, 2, changes.known, changes.quarter),
        (half, 1, changes.known_at_half(), changes.half),
    ):
        luma = [index for index, path in enumerate(wanted) if not path[0]]
        target, guess = select(scales[scale], wanted)[:, luma], conv2d(known, kernel, padding=1)
        repeated = torch.cat([known, torch.zeros_like(target[:, 1:])], dim=1)
        error, plain_error = ((each - target).square().mean() for each in (guess[:, luma], repeated))
        assert error < plain_error
        assert not guess[:, [index for index in range(len(wanted)) if index not in luma]].any()
