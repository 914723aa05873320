"""What a rank does in tests/parallel/test_history.py."""

import functools

import torch
import torch.distributed as dist

from seedvr2.models.codec import LatentCodec
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.inference import InferenceVAE
from seedvr2.parallel.history import SplitCodec


@functools.cache
def vae() -> VideoVAE:
    """A small autoencoder in fp64, the same on every rank."""
    torch.manual_seed(3)
    return VideoVAE([8, 8, 8, 8], 1, groups=2).double().eval().requires_grad_(False)


def split_and_whole(frames: int, chunk: int | None = None, *, fast: bool = False) -> list[float]:
    """Largest differences of encoding and decoding a clip by all ranks together from doing it alone.

    fast: whether they do it by the inference path.
    """
    whole = LatentCodec(vae())
    split = SplitCodec(LatentCodec(InferenceVAE(vae()) if fast else vae(), chunk=chunk), dist.group.WORLD)
    generator = torch.Generator().manual_seed(frames)
    clip = torch.rand(frames, 3, 16, 24, generator=generator, dtype=torch.float64) * 2 - 1
    noise = torch.randn((frames - 1) // 4 + 1, 2, 3, 16, generator=generator, dtype=torch.float64)
    latent = whole.encode(clip, noise=noise)
    restored = whole.decode(latent)
    ours = split.decode(latent)
    assert ours.shape == restored.shape == clip.shape
    return [float((split.encode(clip, noise=noise) - latent).abs().max()), float((ours - restored).abs().max())]
