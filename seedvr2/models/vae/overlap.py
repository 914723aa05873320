"""A linear codec whose patches overlap, and whose pictures suffer little from errors in its latents.

In the closed form of `linear_codec.py` a latent speaks of its own 8 x 8 pixels, and what it says ends at their borders,
so that whatever a generator gets wrong shows as blocks. From there all kernels, 3 x 3 now, learn together, on noise
with the spectrum of photographs, while noise is added to the latents. No picture is needed.
"""

import logging

import torch
import torch.nn.functional as F
from torch import Tensor

from seedvr2.models.vae.linear_codec import ENERGIES, FALLOFF, Changes, LinearCodec, noise, ramps

UPDATES, ERRORS = 4000, 0.1
_RATE, _WARMUP = 2e-3, 20
_PICTURES, _BATCH, _SIDE = 8, 6, 128  # pictures in eights
_BORDER, _BORDER_SHARE = 16, 0.1  # pixels that count less, since the zeros around are not part of a picture
_SMOOTH, _RAMP = 10.0, 64  # weight and side of ramps, which have to come back as they are
_SOLVING, _SOLVED = 50, 2  # iterations of a quadratic problem, and pictures
_MIDDLE = 24  # pixels at each border of a ramp that do not count

_log = logging.getLogger(__name__)


@torch.enable_grad()
def overlapping(codec: LinearCodec, updates: int = UPDATES, *, errors: float = ERRORS) -> LinearCodec:
    """The codec after some updates; latents of noise still have unit deviation.

    The first filters of the first two halvings, which give the mean luma, stay as they are: motion is measured by them.
    The result depends on the arguments and on the number of threads. errors: deviation of the noise that is added to
    the latents meanwhile.
    """
    _log.info("the codec that a fresh VAE starts as learns to overlap: %d updates", updates)
    draws = torch.Generator().manual_seed(2)
    pictures = torch.cat([noise(draws, FALLOFF) for _ in range(_PICTURES)])
    smooth = ramps(len(codec.mixing))[..., :_RAMP, :_RAMP]
    codec = codec._replace(
        analysis=[F.pad(kernel, (0, 1, 0, 1)) for kernel in codec.analysis],
        mixing=F.pad(codec.mixing, (1, 1, 1, 1)),
        kernels=[kernel.clone() for kernel in codec.kernels],
    )
    learning = [kernel.requires_grad_() for kernel in (*codec.analysis, codec.mixing, *codec.kernels)]
    optimizer = torch.optim.Adam(learning, lr=_RATE)
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * min(1.0, (update + 1) / _WARMUP) * (1 - update / updates)
        loss = _error(codec, _crops(pictures, draws), errors, draws) + _SMOOTH * _error_of_smooth(codec, smooth)
        optimizer.zero_grad()
        loss.backward()
        for kernel in codec.analysis[:2]:
            kernel.grad[0] = 0
        optimizer.step()
    for kernel in learning:
        kernel.requires_grad_(False)
    deviations = codec.encode(pictures).std(dim=(0, 2, 3))
    codec.mixing.div_(deviations[:, None, None, None])
    codec.kernels[0].mul_(deviations[:, None, None])
    return codec


@torch.enable_grad()
def refitted(changes: Changes, codec: LinearCodec) -> Changes:
    """The changes with kernels to the signals of this codec, whose bands no longer mean what they are called."""
    kernels = [kernel.clone().requires_grad_() for kernel in (changes.quarter, changes.half)]
    optimizer = torch.optim.LBFGS(kernels, max_iter=_SOLVING, line_search_fn="strong_wolfe")
    given, planes = [changes.known[:_SOLVED], changes.known_at_half()[:_SOLVED]], changes.planes[:_SOLVED]

    def error() -> Tensor:
        optimizer.zero_grad()
        total = planes.new_zeros(())
        for halvings, known, kernel in zip((2, 1), given, kernels, strict=True):
            made = codec.finished(F.conv2d(known, kernel, padding=1), halvings)
            total = total + _energy(made - planes).mean()
        total.backward()
        return total

    optimizer.step(error)
    return changes._replace(quarter=kernels[0].detach(), half=kernels[1].detach())


def _crops(pictures: Tensor, draws: torch.Generator) -> Tensor:
    chosen = torch.randint(len(pictures), (_BATCH,), generator=draws)
    top, left = torch.randint(pictures.shape[-1] - _SIDE + 1, (2,), generator=draws)
    return pictures[chosen, :, top : top + _SIDE, left : left + _SIDE]


def _error(codec: LinearCodec, planes: Tensor, size: float, draws: torch.Generator) -> Tensor:
    """Squared error in pixels of what is decoded from latents with errors."""
    latents = codec.encode(planes)
    errors = torch.randn(latents.shape, generator=draws) * latents.std(dim=(0, 2, 3), keepdim=True)
    error = _energy(codec.decode(latents + size * errors) - planes)
    inner = error[:, _BORDER:-_BORDER, _BORDER:-_BORDER].sum() / error.numel()
    return _BORDER_SHARE * error.mean() + (1 - _BORDER_SHARE) * inner


def _error_of_smooth(codec: LinearCodec, planes: Tensor) -> Tensor:
    """Squared error in the middle of smooth pictures, whose latents are right."""
    if not len(planes):
        return planes.new_zeros(())
    error = _energy(codec.decode(codec.encode(planes)) - planes)
    return error[:, _MIDDLE:-_MIDDLE, _MIDDLE:-_MIDDLE].mean()


def _energy(planes: Tensor) -> Tensor:
    """Energy in pixels (n, h, w) of planes (n, 3, h, w)."""
    return torch.einsum("nchw,c->nhw", planes.square(), ENERGIES)
