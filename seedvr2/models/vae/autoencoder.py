"""The causal video VAE that SeedVR2 takes from SeedVR: 16 latent channels, 8x smaller in space and 4x in time."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seedvr2.errors import UserError
from seedvr2.models.vae.causal import Fresh, History
from seedvr2.models.vae.decoder import Decoder
from seedvr2.models.vae.encoder import Encoder

SPACE = 8  # pixels per latent position, on each side
TIME = 4  # frames per latent frame; the first frame of a clip has one of its own
STAGES = 4
LOGVAR_RANGE = (-30.0, 20.0)


class Posterior(NamedTuple):
    """Diagonal Gaussian over latents: `mean` and `logvar`, (B, C, t, h, w) or any shape, logvar within [-30, 20]."""

    mean: Tensor
    logvar: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return mean + exp(logvar / 2) * noise, for standard normal `noise` of the same shape."""
        assert noise.shape == self.mean.shape, f"noise {tuple(noise.shape)} for latents {tuple(self.mean.shape)}"
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def kl(self) -> Tensor:
        """Return the divergence from a standard normal per clip (B,), in nats, averaged over the latent values."""
        mean, logvar = self.mean.float(), self.logvar.float()
        return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).flatten(1).mean(dim=1)


class VideoVAE(nn.Module):
    """Causal video VAE; parameters have the names and shapes of the released state dict.

    Args:
        channels: widths of the four stages.
        layers: residual blocks per encoder stage; decoder stages have one more.
        groups: groups of the norms; every width is a multiple of it.
        latent_channels: channels of the latent.
        squeeze_images: whether `decode` without a history returns a one-frame clip as an image, without the time axis.

    Raises:
        UserError: for channels, layers or groups that do not fit.
    """

    def __init__(
        self,
        channels: Sequence[int] = (128, 256, 512, 512),
        layers: int = 2,
        *,
        groups: int = 32,
        latent_channels: int = 16,
        squeeze_images: bool = False,
    ) -> None:
        super().__init__()
        if len(channels) != STAGES:
            raise UserError(f"the VAE has {STAGES} stages: give {STAGES} channel counts, not {list(channels)}")
        if layers < 1:
            raise UserError(f"the VAE needs at least 1 layer per stage, not {layers}")
        if groups < 1 or any(width < 1 or width % groups for width in channels):
            raise UserError(f"VAE channels {list(channels)} must be positive multiples of the {groups} norm groups")
        self.latent_channels = latent_channels
        self.squeeze_images = squeeze_images
        self.encoder = Encoder(channels, layers=layers, groups=groups, latent_channels=latent_channels)
        self.decoder = Decoder(channels, layers=layers + 1, groups=groups, latent_channels=latent_channels)

    def encode(self, x: Tensor, history: History | None = None) -> Posterior:
        """Encode frames (B, 3, T, H, W) in [-1, 1] to a posterior over latents (B, C, t, H / 8, W / 8).

        A clip, or the first chunk of one, has T = 4k + 1 frames and t = k + 1; a chunk that continues a clip has T = 4k
        and t = k. Without a history, `x` is a whole clip.

        Raises:
            UserError: for another number of axes, channels or frames, or sides that are no multiples of 8.
        """
        history = Fresh() if history is None else history
        check_frames(x, starts_clip=history.is_start(self.encoder.conv_in))
        return posterior_of(self.encoder(x.contiguous(memory_format=torch.channels_last_3d), history))

    def decode(self, z: Tensor, history: History | None = None) -> Tensor:
        """Decode latents (B, C, t, h, w) to frames (B, 3, T, 8 * h, 8 * w), about [-1, 1] and not clamped.

        T = 4 * (t - 1) + 1 for a clip or the first chunk of one, 4 * t for a chunk that continues a clip. Without a
        history, `z` is a whole clip.

        Raises:
            UserError: for another number of axes or channels.
        """
        check_latents(z, self.latent_channels)
        z = z.contiguous(memory_format=torch.channels_last_3d)
        if history is not None:
            return self.decoder(z, history)
        frames = self.decoder(z, Fresh())
        return frames.squeeze(2) if self.squeeze_images and z.shape[2] == 1 else frames


def posterior_of(moments: Tensor) -> Posterior:
    """The posterior that the encoder's output (B, 2 * C, t, h, w) stands for."""
    mean, logvar = moments.chunk(2, dim=1)
    return Posterior(mean, logvar.clamp(*LOGVAR_RANGE))


def check_latents(z: Tensor, channels: int) -> None:
    """Raise `UserError` unless the decoder takes latents of this shape."""
    if z.ndim != 5 or z.shape[1] != channels or z.shape[2] < 1:
        raise UserError(f"latents must be (B, {channels}, t, h, w), not {tuple(z.shape)}")


def check_frames(x: Tensor, *, starts_clip: bool) -> None:
    """Raise `UserError` unless the encoder takes clips of this shape."""
    if x.ndim != 5 or x.shape[1] != 3:
        raise UserError(f"frames must be (B, 3, T, H, W), not {tuple(x.shape)}")
    count, height, width = x.shape[2:]
    if starts_clip and count % TIME != 1:
        raise UserError(f"a clip must start with {TIME}k + 1 frames, not {count}: repeat its last frame")
    if not starts_clip and (count < TIME or count % TIME):
        raise UserError(f"a clip must continue with {TIME}k frames, not {count}: repeat its last frame")
    if height % SPACE or width % SPACE or not height or not width:
        raise UserError(f"frames must have sides that are multiples of {SPACE}, not {height}x{width}: pad them")
