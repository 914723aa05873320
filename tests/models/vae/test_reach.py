"""How far back the autoencoder looks is how far back a change is felt, to the frame."""

import pytest
import torch

from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.causal import Fresh
from seedvr2.models.vae.reach import look_back


@pytest.fixture(scope="module")
def vae() -> VideoVAE:
    torch.manual_seed(0)
    return VideoVAE((8, 8, 8, 8), 1, groups=4).double().requires_grad_(False)


def test_the_encoder_forgets_what_lies_further_back(vae):
    frames = 101
    last = (frames - 1) // 4
    reach = look_back(vae.encoder)
    x = torch.randn(1, 3, frames, 8, 8, dtype=torch.float64, requires_grad=True)
    vae.encoder(x.contiguous(), Fresh())[:, :, last].square().sum().backward()
    felt = x.grad.abs().amax(dim=(0, 1, 3, 4)) > 0
    assert int(felt.nonzero()[0]) == 4 * last - reach


def test_the_decoder_forgets_what_lies_further_back(vae):
    latents = 31
    reach = look_back(vae.decoder, 4)
    z = torch.randn(1, 16, latents, 1, 1, dtype=torch.float64, requires_grad=True)
    frames = vae.decoder(z.contiguous(), Fresh())
    frames[:, :, -1].square().sum().backward()
    felt = z.grad.abs().amax(dim=(0, 1, 3, 4)) > 0
    assert latents - 1 - int(felt.nonzero()[0]) <= -(-reach // 4)
    assert latents - 1 - int(felt.nonzero()[0]) >= reach // 4 - 1


def test_the_released_sizes():
    with torch.device("meta"):
        vae = VideoVAE()
    assert (look_back(vae.encoder), look_back(vae.decoder, 4)) == (112, 146)
