import pytest
import torch
from torch import Tensor

from seedvr2.errors import UserError
from seedvr2.models.codec import LatentCodec
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.causal import Carry


@pytest.fixture(scope="module")
def vae() -> VideoVAE:
    torch.manual_seed(0)
    return VideoVAE((8, 8, 8, 8), 1, groups=4, squeeze_images=True).requires_grad_(False)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (5, 2), (9, 3)])
def test_round_trip_keeps_the_shape(vae, frames, latents):
    codec = LatentCodec(vae)
    latent = codec.encode(normal(frames, 3, 16, 24))
    assert latent.shape == (latents, 2, 3, 16)
    assert codec.decode(latent).shape == (frames, 3, 16, 24)


def test_latent_is_the_scaled_mean_without_noise(vae):
    frames = normal(5, 3, 16, 16)
    mean = vae.encode(frames.transpose(0, 1)[None]).mean
    expected = 0.9152 * mean[0].permute(1, 2, 3, 0)
    torch.testing.assert_close(LatentCodec(vae).encode(frames), expected)


def test_latent_is_the_scaled_sample_with_noise(vae):
    frames, noise = normal(5, 3, 16, 16), normal(2, 2, 2, 16)
    posterior = vae.encode(frames.transpose(0, 1)[None])
    sample = posterior.sample(noise.permute(3, 0, 1, 2)[None])
    expected = 0.5 * sample[0].permute(1, 2, 3, 0)
    torch.testing.assert_close(LatentCodec(vae, scale=0.5).encode(frames, noise=noise), expected)


def test_posterior_mean_ignores_noise(vae):
    codec = LatentCodec(vae, posterior="mean")
    frames = normal(5, 3, 16, 16)
    assert torch.equal(codec.encode(frames, noise=normal(2, 2, 2, 16)), codec.encode(frames))


def test_decode_undoes_the_scale(vae):
    latent = normal(2, 2, 3, 16)
    expected = vae.decode(latent.permute(3, 0, 1, 2)[None])[0].transpose(0, 1)
    torch.testing.assert_close(LatentCodec(vae, scale=0.5).decode(0.5 * latent), expected)


def test_stream_equals_the_whole_clip(vae):
    codec = LatentCodec(vae)
    frames, noise = normal(13, 3, 16, 16), normal(4, 2, 2, 16)
    whole = codec.encode(frames, noise=noise)
    carry = Carry()
    pieces = [
        codec.encode(chunk, history=carry, noise=chunk_noise)
        for chunk, chunk_noise in zip(frames.split([5, 4, 4]), noise.split([2, 1, 1]), strict=True)
    ]
    torch.testing.assert_close(torch.cat(pieces), whole, atol=2e-5, rtol=0)
    decoded = torch.cat([codec.decode(piece, history=carry) for piece in whole.split([1, 2, 1])])
    torch.testing.assert_close(decoded, codec.decode(whole), atol=2e-5, rtol=0)


@pytest.mark.parametrize("chunk", [1, 2, 3, 9])
def test_chunks_change_nothing(vae, chunk):
    frames, noise = normal(13, 3, 16, 16), normal(4, 2, 2, 16)
    whole, chunked = LatentCodec(vae), LatentCodec(vae, chunk=chunk)
    latent = whole.encode(frames, noise=noise)
    torch.testing.assert_close(chunked.encode(frames, noise=noise), latent, atol=2e-5, rtol=0)
    torch.testing.assert_close(chunked.encode(frames), whole.encode(frames), atol=2e-5, rtol=0)
    torch.testing.assert_close(chunked.decode(latent), whole.decode(latent), atol=2e-5, rtol=0)
    image = normal(1, 3, 16, 16)
    assert torch.equal(chunked.encode(image), whole.encode(image))


def test_latents_have_the_dtype_of_the_vae(vae):
    low = VideoVAE((8, 8, 8, 8), 1, groups=4)
    low.load_state_dict(vae.state_dict())
    codec = LatentCodec(low.bfloat16().requires_grad_(False))
    latent = codec.encode(normal(5, 3, 16, 16), noise=normal(2, 2, 2, 16))
    assert latent.dtype == torch.bfloat16
    assert codec.decode(latent.float()).dtype == torch.bfloat16


def test_gradients_pass_through_decode(vae):
    latent = normal(1, 2, 2, 16).requires_grad_()
    LatentCodec(vae).decode(latent).square().sum().backward()
    assert latent.grad.any()


@pytest.mark.parametrize("shape", [(4, 3, 16, 16), (5, 3, 16, 12), (3, 16, 16), (5, 1, 16, 16)])
def test_frames_that_do_not_fit_are_refused(vae, shape):
    with pytest.raises(UserError):
        LatentCodec(vae).encode(torch.zeros(shape))


def test_latent_without_time_is_refused(vae):
    with pytest.raises(UserError, match=r"\(2, 2, 16\)"):
        LatentCodec(vae).decode(torch.zeros(2, 2, 16))


@pytest.mark.parametrize("arguments", [{"posterior": "mode"}, {"scale": 0.0}, {"scale": float("nan")}, {"chunk": 0}])
def test_settings_that_do_not_fit_are_refused(vae, arguments):
    with pytest.raises(UserError):
        LatentCodec(vae, **arguments)
