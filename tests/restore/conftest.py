"""Small random networks and clips for the streaming tests."""

import pytest
import torch

from seedvr2.models.codec import LatentCodec
from seedvr2.models.vae.autoencoder import VideoVAE


@pytest.fixture(scope="session")
def generator(make_generator) -> torch.nn.Module:
    """A small generator whose velocity depends on its input, in float32."""
    return make_generator("3b", seed=1).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def codec() -> LatentCodec:
    """A small random codec."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        vae = VideoVAE((16, 16, 16, 16), 1, groups=8)
    return LatentCodec(vae.eval().requires_grad_(False))


@pytest.fixture(scope="session")
def prompt() -> torch.Tensor:
    """A random text embedding (5, 8)."""
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="session")
def clip() -> list[torch.Tensor]:
    """22 smooth random frames (3,20,28) in [-1,1]; the sides are no multiples of 16."""
    rough = torch.rand((1, 3, 6, 3, 4), generator=torch.Generator().manual_seed(4)) * 2 - 1
    smooth = torch.nn.functional.interpolate(rough, (22, 20, 28), mode="trilinear", align_corners=True)
    return list(smooth[0].transpose(0, 1).contiguous())


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    # Networks this small are faster on one thread, by far so on a busy machine.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
