"""Colour fixes: give the restored picture the colours of its input.

Restoration models drift in colour. All fixes keep the detail of the restored picture (`content`) and take the
colours of the resized input (`style`): `wavelet_color_fix` replaces everything coarser than about 32 pixels,
`adain_color_fix` matches the mean and spread of each channel, `grey_color_fix` makes frames grey whose input is.
"""

import torch
import torch.nn.functional as F

RADII = (1, 2, 4, 8, 16)  # one per wavelet level, in pixels
EPSILON = 1e-5
LUMA = (0.2126, 0.7152, 0.0722)  # BT.709, as films are written
GREY = 4 / 255  # most that the channels of a grey pixel differ: two steps of 8 bits, by conversions and compression


def wavelet_color_fix(content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """The fine detail of `content` on the low frequencies of `style`; all (T,3,H,W), about [-1,1], not clamped."""
    return low_frequencies(style - content).add_(content)  # smoothing is linear, so once will do


def low_frequencies(frames: torch.Tensor) -> torch.Tensor:
    """(T,C,H,W) after five levels of ever wider [1 2 1]/4 smoothing in both directions, edges repeated."""
    for radius in RADII:
        frames = _smooth(frames, radius)
    return frames


def _smooth(frames: torch.Tensor, radius: int) -> torch.Tensor:
    height, width = frames.shape[-2:]
    padded = F.pad(frames, (0, 0, radius, radius), mode="replicate")
    rows = _blended(padded[..., :height, :], padded[..., 2 * radius :, :], frames)
    padded = F.pad(rows, (radius, radius, 0, 0), mode="replicate")
    return _blended(padded[..., :width], padded[..., 2 * radius :], rows)


def _blended(before: torch.Tensor, after: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:
    return (before + after).div_(4).add_(middle, alpha=0.5)


def adain_color_fix(content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """`content` with the mean and spread of each frame's channels taken from `style`; all (T,3,H,W)."""
    content_mean, content_spread = _statistics(content)
    style_mean, style_spread = _statistics(style)
    return (content - content_mean) / content_spread * style_spread + style_mean


def grey_color_fix(content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """The luma of `content` in frames where `style` is grey, the others as they are; all (T,3,H,W), in [-1,1]."""
    grey = (style.amax(dim=1) - style.amin(dim=1)).amax(dim=(-2, -1)) <= GREY
    luma = sum(share * content[:, i : i + 1] for i, share in enumerate(LUMA))
    return torch.where(grey.view(-1, 1, 1, 1), luma, content)


def _statistics(frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    # The released variance is the unbiased one; a single pixel has none.
    pixels = frames.shape[-2] * frames.shape[-1]
    variance = frames.var(dim=(-2, -1), keepdim=True, correction=min(1, pixels - 1))
    return frames.mean(dim=(-2, -1), keepdim=True), (variance + EPSILON).sqrt()
