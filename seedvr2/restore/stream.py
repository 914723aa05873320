"""The streaming core: frames to latents, latents through a moving window, latents to frames, a few at a time.

Every function is a generator that holds a bounded number of frames, so memory does not depend on the length of a video.
The autoencoder runs causally with a history and gives the same result for any chunk size; the generator's window does
change results, so it is chosen once for a video. Noise is keyed by the position of a latent frame, never by chunks.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator

import torch

from seedvr2.errors import UserError
from seedvr2.models.codec import LatentCodec
from seedvr2.models.vae.autoencoder import SPACE, TIME
from seedvr2.models.vae.causal import Carry
from seedvr2.randomness import torch_generator
from seedvr2.restore.transfer import sent

Restore = Callable[[torch.Tensor, int], torch.Tensor]  # (latents (t,h,w,C), position of the first) -> restored ones


def latent_noise(seed: int, purpose: str, position: int, shape: tuple[int, int, int, int]) -> torch.Tensor:
    """Standard normal (t,h,w,C), float32 on the CPU, for the latent frames position … position+t-1 of a stream.

    Each latent frame is drawn from its own key, so it is the same in every chunk, window, run and device.
    """
    count, *frame = shape
    generators = (torch_generator(seed, "restore", purpose, position + index) for index in range(count))
    return torch.stack(
        [torch.randn(frame, generator=generator, dtype=torch.float32, device="cpu") for generator in generators]
    )


def frame_groups(frames: Iterable[torch.Tensor], *, latents: int = 1) -> Iterator[torch.Tensor]:
    """Group frames (3,H,W) for the autoencoder: 1 + 4 * latents, then 4 * latents at a time, as (T,3,H,W).

    The last group is filled up to 4k (+ 1 if it is the first) by repeating the last frame; one frame stays one.
    """
    frames = iter(frames)
    size = 1 + TIME * latents
    is_first = True
    while group := list(itertools.islice(frames, size)):
        missing = (is_first - len(group)) % TIME
        yield torch.stack(group + [group[-1]] * missing)
        size, is_first = TIME * latents, False


def encoded(
    frames: Iterable[torch.Tensor], codec: LatentCodec, *, seed: int, latents: int = 1, start: int = 0
) -> Iterator[torch.Tensor]:
    """Latent frames (h,w,C) of a stream of frames (3,H,W) in [-1,1], sides multiples of 8; `latents` per call.

    start: position of the first latent frame, which keys its noise.
    """
    history, position = Carry(), start
    for group in frame_groups(frames, latents=latents):
        height, width = (side // SPACE for side in group.shape[-2:])
        count = -(-len(group) // TIME)
        noise = latent_noise(seed, "posterior", position, (count, height, width, codec.vae.latent_channels))
        yield from _encode(codec, group, history, sent(noise, group.device))
        position += count


def windowed(
    latents: Iterable[torch.Tensor], restore: Restore, *, window: int, overlap: int, start: int = 0
) -> Iterator[torch.Tensor]:
    """Restore a stream of latent frames (h,w,C) in windows that share `overlap` frames and fade linearly over them.

    The last window may be shorter, and a stream that fits into one window is restored whole. start: position of the
    first latent frame. Raises UserError if the window is not larger than twice the overlap (a frame must not belong to
    three windows).
    """
    check_window(window, overlap=overlap)
    latents = iter(latents)
    waiting: list[torch.Tensor] = list(itertools.islice(latents, window))
    tail: torch.Tensor | None = None  # the end of the window before, which fades into the next
    position = start
    while waiting:
        restored = restore(torch.stack(waiting), position)
        if tail is not None:
            restored = torch.cat([_faded(tail, restored[:overlap]), restored[overlap:]])
        kept = max(0, len(waiting) - overlap)
        yield from restored[:kept]
        fresh = list(itertools.islice(latents, window - overlap))
        if not fresh:
            yield from restored[kept:]
            return
        tail, waiting, position = restored[kept:], [*waiting[kept:], *fresh], position + kept


def check_window(window: int, *, overlap: int) -> None:
    """Raise UserError unless windows of `window` latent frames can share `overlap` of them."""
    if overlap < 0 or window < max(1, 2 * overlap):
        raise UserError(f"windows of {window} latent frames cannot overlap by {overlap}; use at most half of a window")


def decoded(latents: Iterable[torch.Tensor], codec: LatentCodec, *, count: int = 1) -> Iterator[torch.Tensor]:
    """Frames (3,H,W), about [-1,1], of a stream of latent frames (h,w,C); `count` latents per call."""
    history, latents = Carry(), iter(latents)
    while group := list(itertools.islice(latents, count)):
        yield from _decode(codec, torch.stack(group), history)


@torch.no_grad()
def _encode(codec: LatentCodec, frames: torch.Tensor, history: Carry, noise: torch.Tensor) -> torch.Tensor:
    return codec.encode(frames, history=history, noise=noise)


@torch.no_grad()
def _decode(codec: LatentCodec, latents: torch.Tensor, history: Carry) -> torch.Tensor:
    return codec.decode(latents, history=history)


def _faded(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    weights = torch.arange(1, len(before) + 1, device=before.device, dtype=before.dtype) / (len(before) + 1)
    return torch.lerp(before, after, weights.view(-1, 1, 1, 1))
