"""The VAE as the generator sees it: clips of frames to scaled latents with channels last, and back."""

from typing import Literal

import torch
from torch import Tensor

from seedvr2.errors import UserError
from seedvr2.models.vae.autoencoder import TIME, Posterior, VideoVAE
from seedvr2.models.vae.causal import Carry, Fresh, History

RELEASED_SCALE = 0.9152


class LatentCodec:
    """Turns one clip, or one chunk of it, into latents of about unit variance and back.

    It neither freezes the VAE nor switches gradients off: that is for the caller to decide.

    Args:
        vae: the autoencoder.
        scale: factor from VAE latents to generator latents.
        posterior: "sample" draws from the posterior where noise is given, "mean" takes its mean whatever the noise.
        chunk: latent frames that pass through the VAE at once when a whole clip is given, which bounds memory and
            changes no result; None: all of them.

    Raises:
        UserError: for another posterior, a scale that is not positive, or a chunk below 1.
    """

    def __init__(
        self,
        vae: VideoVAE,
        scale: float = RELEASED_SCALE,
        posterior: Literal["sample", "mean"] = "sample",
        chunk: int | None = None,
    ) -> None:
        if posterior not in ("sample", "mean"):
            raise UserError(f'the posterior must be "sample" or "mean", not {posterior!r}')
        if not scale > 0:
            raise UserError(f"the latent scale must be positive, not {scale}")
        if chunk is not None and chunk < 1:
            raise UserError(f"a chunk must be at least 1 latent frame, not {chunk}")
        self.vae = vae
        self.scale = scale
        self.posterior = posterior
        self.chunk = chunk

    def encode(self, frames: Tensor, *, history: History | None = None, noise: Tensor | None = None) -> Tensor:
        """Encode frames (T, 3, H, W) in [-1, 1] to a latent (t, H / 8, W / 8, C) in the dtype of the VAE.

        Args:
            frames: T = 4k + 1 frames, or 4k that continue a clip; reaching such a length is for the caller.
            history: what came before (None: `frames` is a whole clip).
            noise: standard normal (t, H / 8, W / 8, C); None takes the mean of the posterior.

        Raises:
            UserError: for frames of another shape, another number of them, or sides that are no multiples of 8.
        """
        return self.drawn(self.moments(frames, history=history), noise)

    def moments(self, frames: Tensor, *, history: History | None = None) -> Posterior:
        """The posterior of `encode`: mean and logvar, each (t, H / 8, W / 8, C), before the scale."""
        if frames.ndim != 4:
            raise UserError(f"frames must be (T, 3, H, W), not {tuple(frames.shape)}")
        if history is None and self.chunk is not None and len(frames) > TIME * self.chunk:
            history, size = Carry(), TIME * self.chunk
            pieces = [frames[: size - TIME + 1], *frames[size - TIME + 1 :].split(size)]
            found = [self.moments(piece, history=history) for piece in pieces]
            return Posterior(*map(torch.cat, zip(*found, strict=True)))
        frames = frames.to(self.vae.encoder.conv_in.weight.dtype)
        posterior = self.vae.encode(frames.transpose(0, 1).unsqueeze(0), history)
        return Posterior(*(part.squeeze(0).movedim(0, -1) for part in posterior))

    def drawn(self, posterior: Posterior, noise: Tensor | None) -> Tensor:
        """The latent of a posterior of `moments`, drawn with standard normal noise of its shape."""
        if noise is None or self.posterior == "mean":
            return posterior.mean * self.scale
        return posterior.sample(noise.to(posterior.mean)) * self.scale

    def decode(self, latent: Tensor, *, history: History | None = None) -> Tensor:
        """Decode a latent (t, h, w, C) to frames (T, 3, 8 * h, 8 * w), about [-1, 1] and not clamped.

        Raises:
            UserError: for a latent of another shape.
        """
        if latent.ndim != 4:
            raise UserError(f"a latent must be (t, h, w, {self.vae.latent_channels}), not {tuple(latent.shape)}")
        if history is None and self.chunk is not None and len(latent) > self.chunk:
            history = Carry()
            return torch.cat([self.decode(part, history=history) for part in latent.split(self.chunk)])
        latent = latent.to(self.vae.decoder.conv_in.weight.dtype) / self.scale
        # never None, which would squeeze the time axis of an image
        history = Fresh() if history is None else history
        return self.vae.decode(latent.movedim(-1, 0)[None], history).squeeze(0).transpose(0, 1)
