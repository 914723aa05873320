"""Weights of latent channels follow what an error does to the frames."""

import pytest
import torch

from seedvr2.losses.weighing import pixel_weights
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.start import start_as_codec


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    network = VideoVAE((32, 32, 48, 64), 1, groups=8)
    start_as_codec(network, torch.Generator().manual_seed(0))
    return network.requires_grad_(False)


def test_weighted_errors_are_errors_of_the_frames(vae):
    scale = 0.7
    weights = pixel_weights(vae.decode, 16, scale=scale)
    assert weights.square().mean() == pytest.approx(1, rel=1e-5)
    draws = torch.Generator().manual_seed(7)
    latents = torch.randn(1, 16, 2, 6, 6, generator=draws)
    ratios = []
    for channels in (slice(0, 1), slice(1, 4), slice(0, 16), slice(13, 16)):
        error = torch.zeros_like(latents)
        error[:, channels] = 0.05 * torch.randn(error[:, channels].shape, generator=draws)
        frames = vae.decode((latents + error) / scale) - vae.decode(latents / scale)
        ratios.append(frames.square().mean() / (weights[:, None, None, None] * error).square().mean())
    ratios = torch.stack(ratios)
    assert (ratios / ratios.mean() - 1).abs().max() < 0.35
    assert (weights.max() / weights.min()) ** 2 > 10  # without the weights the ratios would lie this far apart
