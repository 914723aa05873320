import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from seedvr2.errors import UserError
from seedvr2.models.vae.autoencoder import Posterior, VideoVAE
from seedvr2.models.vae.causal import Carry, Fresh

ASSETS = Path(__file__).parents[2] / "assets"


@pytest.fixture(scope="module")
def vae() -> VideoVAE:
    torch.manual_seed(0)
    return VideoVAE((8, 8, 16, 16), 1, groups=4).requires_grad_(False)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_parameters_have_the_released_names_shapes_and_number():
    released = json.loads((ASSETS / "keys_vae.json").read_text())
    with torch.device("meta"):
        vae = VideoVAE()
    assert {name: list(weight.shape) for name, weight in vae.state_dict().items()} == released["shapes"]
    assert sum(weight.numel() for weight in vae.parameters()) == released["num_parameters"] == 250_648_227


@pytest.mark.parametrize("chunks", [[13], [1, 12], [5, 4, 4], [5, 8], [9, 4], [1, 4, 4, 4]])
def test_chunked_encode_equals_whole_encode(vae, chunks):
    x = normal(2, 3, 13, 24, 16)
    whole = vae.encode(x)
    carry = Carry()
    pieces = [vae.encode(piece, carry) for piece in x.split(chunks, dim=2)]
    torch.testing.assert_close(torch.cat([piece.mean for piece in pieces], dim=2), whole.mean, atol=2e-5, rtol=0)
    torch.testing.assert_close(torch.cat([piece.logvar for piece in pieces], dim=2), whole.logvar, atol=2e-5, rtol=0)


@pytest.mark.parametrize("chunks", [[4], [1, 3], [2, 2], [1, 1, 1, 1], [3, 1]])
def test_chunked_decode_equals_whole_decode(vae, chunks):
    z = normal(2, 16, 4, 3, 2)
    whole = vae.decode(z)
    assert whole.shape == (2, 3, 13, 24, 16)
    carry = Carry()
    pieces = [vae.decode(piece, carry) for piece in z.split(chunks, dim=2)]
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, atol=2e-5, rtol=0)


def test_one_carry_serves_encoder_and_decoder(vae):
    x = normal(1, 3, 9, 16, 16)
    carry = Carry()
    frames = [vae.decode(vae.encode(piece, carry).mean, carry) for piece in x.split([5, 4], dim=2)]
    torch.testing.assert_close(torch.cat(frames, dim=2), vae.decode(vae.encode(x).mean), atol=2e-5, rtol=0)


@pytest.mark.parametrize(("changed", "kept"), [(1, 1), (4, 1), (5, 2), (8, 2)])
def test_latents_do_not_depend_on_later_frames(vae, changed, kept):
    x = normal(1, 3, 9, 16, 16)
    other = x.clone()
    other[:, :, changed:] += 1
    before, after = vae.encode(x).mean, vae.encode(other).mean
    torch.testing.assert_close(after[:, :, :kept], before[:, :, :kept], atol=1e-6, rtol=0)
    assert (after[:, :, kept] - before[:, :, kept]).abs().max() > 1e-3


def test_frames_do_not_depend_on_later_latents(vae):
    z = normal(1, 16, 3, 2, 2)
    other = z.clone()
    other[:, :, 2] += 1
    before, after = vae.decode(z), vae.decode(other)
    torch.testing.assert_close(after[:, :, :5], before[:, :, :5], atol=1e-6, rtol=0)
    assert (after[:, :, 5] - before[:, :, 5]).abs().max() > 1e-3


def test_image_equals_the_first_frame_of_a_clip(vae):
    x = normal(2, 3, 5, 16, 24)
    clip = vae.encode(x)
    image = vae.encode(x[:, :, :1])
    torch.testing.assert_close(image.mean, clip.mean[:, :, :1], atol=2e-5, rtol=0)
    torch.testing.assert_close(vae.decode(image.mean), vae.decode(clip.mean)[:, :, :1], atol=2e-5, rtol=0)


def test_only_images_without_a_history_are_squeezed(vae):
    squeezing = VideoVAE((8, 8, 16, 16), 1, groups=4, squeeze_images=True)
    squeezing.load_state_dict(vae.state_dict())
    z = normal(1, 16, 2, 2, 2)
    torch.testing.assert_close(squeezing.decode(z[:, :, :1]), vae.decode(z[:, :, :1])[:, :, 0])
    assert squeezing.decode(z[:, :, :1], Fresh()).shape == (1, 3, 1, 16, 16)
    assert squeezing.decode(z).shape == (1, 3, 5, 16, 16)


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    vae = VideoVAE((8, 8, 16, 16), 1, groups=4)
    for frames in (1, 5):
        vae.zero_grad()
        posterior = vae.encode(normal(2, 3, frames, 16, 16))
        loss = vae.decode(posterior.sample(normal(*posterior.mean.shape))).square().mean() + posterior.kl().mean()
        loss.backward()
        still = [name for name, weight in vae.named_parameters() if not weight.grad.any()]
        assert still == []


def test_bfloat16_stays_close_to_float32(vae):
    x = normal(1, 3, 5, 16, 16)
    low = VideoVAE((8, 8, 16, 16), 1, groups=4)
    low.load_state_dict(vae.state_dict())
    frames = low.bfloat16().decode(low.encode(x.bfloat16()).mean)
    expected = vae.decode(vae.encode(x).mean)
    assert frames.dtype == torch.bfloat16
    assert (frames - expected).norm() < 0.05 * expected.norm()


def test_posterior_samples_have_its_mean_and_variance():
    posterior = Posterior(mean=torch.full((1, 1, 1, 100, 100), 3.0), logvar=torch.full((1, 1, 1, 100, 100), 1.0))
    sample = posterior.sample(normal(1, 1, 1, 100, 100))
    assert sample.mean() == pytest.approx(3.0, abs=0.1)
    assert sample.var().log() == pytest.approx(1.0, abs=0.1)


def test_kl_equals_the_divergence_of_gaussians():
    posterior = Posterior(mean=normal(2, 4, 1, 2, 2), logvar=normal(2, 4, 1, 2, 2).flip(0))
    ours = torch.distributions.Normal(posterior.mean, (0.5 * posterior.logvar).exp())
    expected = torch.distributions.kl_divergence(ours, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(posterior.kl(), expected.flatten(1).mean(dim=1))


def test_logvar_is_clamped(vae):
    extreme = VideoVAE((8, 8, 16, 16), 1, groups=4)
    extreme.load_state_dict(vae.state_dict())
    extreme.encoder.conv_out.bias.data[16:24] = 1000
    extreme.encoder.conv_out.bias.data[24:] = -1000
    logvar = extreme.encode(normal(1, 3, 1, 16, 16)).logvar
    assert logvar.amax() == 20
    assert logvar.amin() == -30


@pytest.mark.parametrize(
    ("shape", "named"),
    [
        ((1, 3, 4, 16, 16), "not 4"),
        ((1, 3, 0, 16, 16), "not 0"),
        ((1, 3, 5, 12, 16), "12x16"),
        ((1, 3, 5, 16, 20), "16x20"),
        ((1, 4, 5, 16, 16), "(1, 4, 5, 16, 16)"),
        ((3, 5, 16, 16), "(3, 5, 16, 16)"),
    ],
)
def test_frames_that_do_not_fit_are_named(vae, shape, named):
    with pytest.raises(UserError) as error:
        vae.encode(torch.zeros(shape))
    assert named in str(error.value)


@pytest.mark.parametrize("frames", [5, 3, 0])
def test_a_stream_continues_with_multiples_of_four(vae, frames):
    carry = Carry()
    vae.encode(torch.zeros(1, 3, 5, 16, 16), carry)
    with pytest.raises(UserError, match=f"not {frames}"):
        vae.encode(torch.zeros(1, 3, frames, 16, 16), carry)


@pytest.mark.parametrize("shape", [(1, 8, 2, 2, 2), (16, 2, 2, 2), (1, 16, 0, 2, 2)])
def test_latents_that_do_not_fit_are_named(vae, shape):
    with pytest.raises(UserError) as error:
        vae.decode(torch.zeros(shape))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize(
    ("channels", "layers", "groups"), [((8, 8, 8), 1, 4), ((8, 8, 8, 6), 1, 4), ((8, 8, 8, 8), 0, 4), ((8,) * 4, 1, 0)]
)
def test_sizes_that_do_not_fit_are_refused(channels, layers, groups):
    with pytest.raises(UserError):
        VideoVAE(channels, layers, groups=groups)
