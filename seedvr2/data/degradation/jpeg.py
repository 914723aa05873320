"""What JPEG loses, as tensor arithmetic: baseline compression with 4:2:0 colour, for many frames of their own quality.

Entropy coding loses nothing and is left out. The steps are those of ITU-T T.81 and JFIF with the example tables of
T.81's Annex K, scaled by quality as the Independent JPEG Group's library does, so that decoded pictures agree with its
up to rounding. (Batched GPU encoders keep colour at full resolution, which would be another degradation.)
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

BLOCK = 8
LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8 for _ in range(4)),
)
TO_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))
MIDDLE = 128.0


def through_jpeg(clip: Tensor, qualities: Sequence[int]) -> Tensor:
    """Float32 frames (T,H,W,3) in [0,1] after compression at a quality of 1 … 100 each; values are whole 255ths."""
    height, width = clip.shape[1:3]
    picture = (clip.clamp(0, 1) * 255).round().permute(0, 3, 1, 2)
    luma, *colours = (_mixed(picture, TO_YCC) + _offset(clip)).round().clamp(0, 255).split(1, dim=1)
    luma = _through_blocks(_padded(luma, BLOCK), _tables(LUMA, qualities, clip.device))[..., :height, :width]
    tables = _tables(CHROMA, qualities, clip.device)
    planes = [luma, *(_colour(plane, tables) for plane in colours)]
    picture = _mixed(torch.cat(planes, dim=1) - _offset(clip), TO_RGB).round().clamp(0, 255)
    # On CUDA a number would be turned into a factor, which is off in the last digit.
    return picture.permute(0, 2, 3, 1).contiguous() / torch.full((), 255.0, device=clip.device)


def _colour(plane: Tensor, tables: Tensor) -> Tensor:
    # Halved by averaging, compressed, and doubled by the weights 3/4 and 1/4.
    height, width = plane.shape[-2:]
    small = _padded(plane, 2 * BLOCK).unflatten(-2, (-1, 2)).unflatten(-1, (-1, 2)).sum((-3, -1))
    # Ties are rounded down in even columns and up in odd ones.
    bias = 1 + torch.arange(small.shape[-1], device=plane.device) % 2
    small = _through_blocks(((small + bias) / 4).floor(), tables)[..., : -(-height // 2), : -(-width // 2)]
    return interpolate(small, scale_factor=2, mode="bilinear").round()[..., :height, :width]


def _through_blocks(plane: Tensor, tables: Tensor) -> Tensor:
    # (T,1,H,W) with sides of whole blocks; tables (T,8,8).
    basis = _cosines(plane.device)
    blocks = (plane - MIDDLE).unflatten(-2, (-1, BLOCK)).unflatten(-1, (-1, BLOCK))
    steps = tables[:, None, None, :, None, :]
    kept = (torch.einsum("ui,tchiwj,vj->tchuwv", basis, blocks, basis) / steps).round() * steps
    decoded = torch.einsum("ui,tchuwv,vj->tchiwj", basis, kept, basis) + MIDDLE
    return decoded.round().clamp(0, 255).reshape(plane.shape)


def _cosines(device: torch.device) -> Tensor:
    # The orthonormal discrete cosine transform: (frequency, position).
    places = torch.arange(BLOCK, dtype=torch.float64)
    basis = torch.cos((2 * places + 1) * places[:, None] * (math.pi / (2 * BLOCK))) / 2
    basis[0] /= math.sqrt(2)
    return basis.float().to(device)


def _tables(base: Sequence[Sequence[int]], qualities: Sequence[int], device: torch.device) -> Tensor:
    scales = [5000 // quality if quality < 50 else 200 - 2 * quality for quality in qualities]
    steps = (torch.tensor(base) * torch.tensor(scales)[:, None, None] + 50) // 100
    return steps.clamp(1, 255).float().to(device)


def _mixed(planes: Tensor, weights: Sequence[Sequence[float]]) -> Tensor:
    return torch.einsum("dc,tchw->tdhw", torch.tensor(weights, device=planes.device), planes)


def _offset(clip: Tensor) -> Tensor:
    return torch.tensor([0.0, MIDDLE, MIDDLE], device=clip.device)[:, None, None]


def _padded(plane: Tensor, multiple: int) -> Tensor:
    down, right = (-side % multiple for side in plane.shape[-2:])
    return pad(plane, (0, right, 0, down), mode="replicate")
