"""Losses of the autoencoder: perceptual distances between frames, and the patch discriminators."""

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from seedvr2.errors import UserError


class RandomConvDistance(nn.Module):
    """Perceptual distance without downloaded weights: features of a fixed random convolution pyramid, unit-normalised.

    seed fixes the filters; levels halves the resolution that many times.
    """

    def __init__(self, *, seed: int = 0, width: int = 32, levels: int = 3):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        channels = [3, *[width] * levels]
        for level, (a, b) in enumerate(itertools.pairwise(channels)):
            weight = torch.randn(b, a, 3, 3, generator=generator)
            weight -= weight.mean(dim=(1, 2, 3), keepdim=True)  # blind to flat areas: details, not brightness
            self.register_buffer(f"weight{level}", weight / weight.flatten(1).norm(dim=1)[:, None, None, None])

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """a, b: (N, 3, H, W) in [-1, 1] -> scalar."""
        total = 0.0
        for weight in self.buffers():
            a, b = (F.leaky_relu(F.conv2d(x, weight, padding=1), 0.2) for x in (a, b))
            scale = torch.sqrt(b.square().mean(dim=(1, 2, 3), keepdim=True) + 1e-4).detach()
            total = total + ((a - b) / scale).abs().mean()
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        return total / len(list(self.buffers()))


class LpipsDistance(nn.Module):
    """LPIPS of the `lpips` package; needs `pip install seedvr2[metrics]`, and torchvision's weights, which are fetched
    at first use.
    """

    def __init__(self, *, network: str = "vgg"):
        super().__init__()
        self.network, self.distance = network, None

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """a, b: (N, 3, H, W) in [-1, 1] -> scalar. Raises UserError if package or weights cannot be had."""
        if self.distance is None:
            self.distance = self._load().requires_grad_(False).to(a.device)
        return self.distance(a, b).mean()

    def _load(self) -> nn.Module:
        try:
            import lpips  # optional and slow to import

            return lpips.LPIPS(net=self.network, verbose=False)
        except ImportError as error:
            advice = "pip install 'seedvr2[metrics]'"
            raise UserError(f"perceptual loss 'lpips' needs the package lpips: {advice}") from error
        except OSError as error:
            raise UserError(
                f"perceptual loss 'lpips' cannot fetch the weights of {self.network} ({error}): go online once, or put "
                "torchvision's file into TORCH_HOME, or use RandomConvDistance"
            ) from error


class PatchCritic(nn.Module):
    """Patch discriminator of frames (3 x 4 x 4 convolutions also see time in clips), spectral norm on every layer."""

    def __init__(self, *, width: int = 32, levels: int = 3):
        super().__init__()
        channels = [3, *(width * 2**i for i in range(levels))]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv3d(a, b, (3, 4, 4), stride=(1, 2, 2), padding=(1, 1, 1)))
            for a, b in itertools.pairwise(channels)
        )
        self.score = spectral_norm(nn.Conv3d(channels[-1], 1, (3, 3, 3), padding=1))

    def forward(self, clip: Tensor) -> Tensor:
        """clip: (B, 3, T, H, W) in [-1, 1] -> patch logits (B, 1, T, H', W')."""
        for layer in self.layers:
            clip = F.leaky_relu(layer(clip), 0.2)
        return self.score(clip)


def adaptive_weight(
    reconstruction: Tensor,
    adversarial: Tensor,
    last_layer: Tensor,
    *,
    limit: float = 1e4,
    average: Callable[[Tensor], Tensor] = lambda gradient: gradient,
) -> Tensor:
    """Weight that gives the adversarial loss the reconstruction loss's gradient norm at the decoder's last layer.

    average: from the gradient of this batch to that of the whole step.
    """
    norms = [
        average(torch.autograd.grad(loss, last_layer, retain_graph=True)[0]).norm()
        for loss in (reconstruction, adversarial)
    ]
    return (norms[0] / (norms[1] + 1e-4)).clamp(0, limit).detach()
