"""A VAE that starts as a codec carries a picture before any training."""

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from seedvr2.data.procedural import ProceduralClips
from seedvr2.errors import UserError
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.start import start_as_codec


@pytest.fixture(scope="module")
def pictures():
    """Drawn pictures (8, 3, 1, 64, 64) in [-1, 1]."""
    clips = [ProceduralClips().clip(np.random.default_rng(i), 1, 64, 64) for i in range(8)]
    return torch.from_numpy(np.stack(clips)).permute(0, 4, 1, 2, 3) * 2 - 1


def codec(*channels, groups, **settings):
    """A VAE right after its start."""
    torch.manual_seed(0)
    vae = VideoVAE(channels, layers=1, groups=groups, **settings)
    start_as_codec(vae, torch.Generator().manual_seed(0))
    return vae.eval().requires_grad_(False)


@pytest.mark.parametrize(("channels", "groups"), [((32, 32, 48, 64), 8), ((16, 32, 64, 64), 4), ((64, 64, 64, 64), 16)])
def test_reconstruction_beats_a_reduction_to_the_latent_grid(pictures, channels, groups):
    vae = codec(*channels, groups=groups)
    posterior = vae.encode(pictures)
    error = (vae.decode(posterior.mean) - pictures).square().mean()
    small = interpolate(avg_pool2d(pictures[:, :, 0], 8), scale_factor=8, mode="bicubic")
    assert error < 0.75 * (small - pictures[:, :, 0]).square().mean()
    assert 0.3 < posterior.mean.std() < 3
    assert posterior.logvar.max() < -4


@pytest.mark.parametrize("channels", [(32, 32, 48, 64), (16, 16, 32, 64)])
def test_a_ramp_comes_back_as_a_ramp(channels):
    vae = codec(*channels, groups=4)
    ramp = torch.linspace(-0.4, 0.2, 96).expand(1, 3, 1, 96, 96)
    inner = vae.decode(vae.encode(ramp).mean)[..., 32:-32, 32:-32]
    steps = inner.diff(dim=-1)
    assert (steps - steps.mean()).abs().max() < 0.05 * steps.mean()
    assert inner.diff(dim=-2).abs().max() < 0.05 * steps.mean()


def test_still_clips_reconstruct_as_their_picture(pictures):
    vae = codec(32, 32, 48, 64, groups=8)
    clip = pictures[:2].expand(-1, -1, 5, -1, -1)
    frames = vae.decode(vae.encode(clip).mean)
    image = vae.decode(vae.encode(pictures[:2]).mean)
    assert torch.allclose(frames, image.expand_as(frames), atol=1e-4)


def test_frames_between_latents_interpolate_between_them(pictures):
    vae = codec(32, 32, 48, 64, groups=8)
    first, last = pictures[:1], pictures[1:2]
    clip = torch.cat([first] + [first.lerp(last, share) for share in (0.25, 0.5, 0.75)] + [last], dim=2)
    frames = vae.decode(vae.encode(clip).mean)
    ends = [vae.decode(vae.encode(end).mean) for end in (first, last)]
    middle = ends[0].lerp(ends[1], 0.5)[:, :, 0]
    assert (frames[:, :, 2] - middle).abs().mean() < 0.1 * (ends[0] - ends[1]).abs().mean()


@pytest.mark.parametrize("changed", [1, 2, 3])
def test_what_changes_between_latents_does_not_fade_away(pictures, changed):
    vae = codec(32, 32, 48, 64, groups=8)
    clip = pictures[:1].expand(-1, -1, 5, -1, -1).clone()
    clip[:, :, changed, 16:48, 16:48] += 0.3
    still, moving = (vae.decode(vae.encode(frames).mean) for frames in (pictures[:1].expand_as(clip), clip))
    brighter = (moving - still)[..., 24:40, 24:40].mean(dim=(0, 1, 3, 4))
    assert brighter[changed] > 0.2
    others = [frame for frame in range(5) if frame != changed]
    assert brighter[others].abs().max() < 0.16  # its neighbour may be interpolated from it


@pytest.mark.parametrize("changed", [1, 2, 3])
def test_with_more_channels_changes_keep_their_slopes(pictures, changed):
    place = torch.zeros(64, 64)
    place[20:44, 20:44] = 0.3  # not on the borders of patches
    clip = pictures[:1].expand(-1, -1, 5, -1, -1).clone()
    clip[:, :, changed] += place
    errors = []
    for latents in (20, 28):
        vae = codec(32, 32, 64, 64, groups=4, latent_channels=latents)
        still, moving = (vae.decode(vae.encode(frames).mean) for frames in (pictures[:1].expand_as(clip), clip))
        errors.append(((moving - still)[:, :, changed] - place).square().mean())
    assert errors[1] < 0.6 * errors[0]


def test_the_start_depends_on_its_generator_only(pictures):
    first, second = (codec(32, 32, 48, 64, groups=8).encode(pictures[:1]).mean for _ in range(2))
    assert torch.equal(first, second)


def test_groups_without_room_for_constants_are_the_users_mistake():
    with pytest.raises(UserError, match="fewer groups"):
        codec(8, 16, 16, 16, groups=4)
