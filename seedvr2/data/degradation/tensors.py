"""The operations on clips as tensors of any device, all frames at once: equal to those on arrays up to rounding.

Only the samples of noise differ, because every kind of device has generators of its own.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
SHARPNESS = -0.75  # of OpenCV's cubic


def filtered(clip: Tensor, kernels: Sequence[np.ndarray]) -> Tensor:
    """The float32 (T,H,W,3) clip, each frame correlated with its square kernel of odd size, mirrored at the borders."""
    height, width = clip.shape[1:3]
    reach = len(kernels[0]) // 2
    rows, columns = (_mirrored(side, reach, clip.device) for side in (height, width))
    padded = clip[:, rows][:, :, columns].permute(0, 3, 1, 2)
    size = [cv2.getOptimalDFTSize(side + 2 * reach) for side in (height, width)]
    response = torch.fft.rfft2(torch.from_numpy(np.stack(kernels)).to(clip.device), s=size).conj()
    result = torch.fft.irfft2(torch.fft.rfft2(padded, s=size) * response[:, None], s=size)
    return result[..., :height, :width].permute(0, 2, 3, 1).contiguous()


def resized(clip: Tensor, size: tuple[int, int], *, interpolation: str) -> Tensor:
    """The float32 (T,H,W,3) clip at (height, width), as OpenCV resizes it; bicubic may leave [0,1]."""
    # OpenCV averages areas only where no side grows.
    shrinks = all(new <= old for new, old in zip(size, clip.shape[1:3], strict=True))
    down, right = (
        torch.from_numpy(_weights(old, new, interpolation, shrinks=shrinks)).to(clip.device)
        for old, new in zip(clip.shape[1:3], size, strict=True)
    )
    return torch.einsum("ih,thwc->tiwc", down, torch.einsum("jw,thwc->thjc", right, clip)).contiguous()


def gaussian_noise(clip: Tensor, seed: int, *, is_gray: bool) -> Tensor:
    """Standard normal noise (T,H,W,3) for a clip, or (T,H,W,1) if gray."""
    generator = torch.Generator(clip.device).manual_seed(seed)
    return torch.randn(*clip.shape[:3], 1 if is_gray else 3, generator=generator, device=clip.device)


def poisson_noise(clip: Tensor, seed: int, *, is_gray: bool, domain: int = 1, is_exact: bool = True) -> Tensor:
    """Poisson(v x)/v - x of every frame x, rounded to 8 bits: (T,H,W,3), or (T,H,W,1) for the brightness if gray.

    v is the number of grey levels of the frame rounded up to a power of two, times `domain`. Without `is_exact` the
    noise is normal and has the same variance.
    """
    picture = (clip @ torch.tensor(LUMA, device=clip.device))[..., None] if is_gray else clip
    levels = (picture.clamp(0, 1) * 255).round()
    numbers = levels.long().flatten(1) + 256 * torch.arange(len(clip), device=clip.device)[:, None]
    used = torch.bincount(numbers.flatten(), minlength=256 * len(clip)).view(-1, 256).count_nonzero(dim=1)
    photons = (2 ** used.double().log2().ceil() * domain).float()[:, None, None, None]
    clean = levels / 255
    if not is_exact:
        return gaussian_noise(clip, seed, is_gray=is_gray) * (clean / photons).sqrt()
    generator = torch.Generator(clip.device).manual_seed(seed)
    return torch.poisson(clean * photons, generator=generator) / photons - clean


def _mirrored(side: int, reach: int, device: torch.device) -> Tensor:
    # Places of a mirrored border that does not repeat the edge, however often the picture has to be mirrored.
    period = max(2 * (side - 1), 1)
    places = torch.arange(-reach, side + reach, device=device) % period
    return torch.minimum(places, period - places) if side > 1 else torch.zeros_like(places)


def _weights(old: int, new: int, interpolation: str, *, shrinks: bool) -> np.ndarray:
    # float32 (new, old): what each old pixel gives to each new one.
    scale, places = old / new, np.arange(new)
    if interpolation == "area" and shrinks:
        edges = np.arange(old)
        inside = np.minimum((places[:, None] + 1) * scale, edges + 1) - np.maximum(places[:, None] * scale, edges)
        return (np.maximum(inside, 0) / scale).astype(np.float32)
    centres = (places + 0.5) * scale - 0.5
    first = np.floor(places * scale if interpolation == "area" else centres)
    shift = centres - first
    if interpolation == "area":
        # New pixels take one old pixel each, except those that lie across an edge.
        shift = np.maximum((places + 1) - (first + 1) / scale, 0) % 1
    taps = _cubic(shift) if interpolation == "bicubic" else {0: 1 - shift, 1: shift}
    weights = np.zeros((new, old))
    for offset, values in taps.items():
        np.add.at(weights, (places, np.clip(first + offset, 0, old - 1).astype(int)), values)
    return weights.astype(np.float32)


def _cubic(shift: np.ndarray) -> dict[int, np.ndarray]:
    a = SHARPNESS
    near = {0: shift, 1: 1 - shift}
    far = {-1: 1 + shift, 2: 2 - shift}
    taps = {offset: ((a + 2) * x - (a + 3)) * x**2 + 1 for offset, x in near.items()}
    return taps | {offset: a * (((x - 5) * x + 8) * x - 4) for offset, x in far.items()}
