"""Weights of an up-sampling at the low resolution: 1x1x1 convolution, pixel shuffle and 3x3x3 convolution as one.

Three taps at the high resolution fall on two positions of the low one along an axis that is doubled, so each
sub-position of the result is a convolution with two taps there; its weights are sums of products of the original ones.
The bias of the 1x1x1 convolution adds a constant, but for the border, where zeros stand for what is outside.
"""

import itertools
from collections import defaultdict
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seedvr2.models.vae.blocks import Upsample

Taps = list[tuple[int, int]]  # per tap at the high resolution: its place at the low one, and its sub-position there

_SPACE: list[Taps] = [[(0, 1), (1, 0), (1, 1)], [(0, 0), (0, 1), (1, 0)]]  # of even and odd rows and columns
DOUBLED: list[Taps] = [[(0, 0), (0, 1), (1, 0)], [(0, 1), (1, 0), (1, 1)]]  # frames, where time is doubled
# what follows a clip's first frame, which has no second sub-position and stands for all that would come before it
SECOND: list[Taps] = [[(0, 0), (0, 0), (1, 0)], [(0, 0), (1, 0), (1, 1)]]
STILL: list[Taps] = [[(0, 0)] * 3]  # that first frame itself
KEPT: list[Taps] = [[(0, 0), (1, 0), (2, 0)]]  # frames, where time is not doubled

_INNER = [2, 1, 2, 1]  # of rows that are the first, odd, even or the last: the kind in the middle of the same parity


class Folded(NamedTuple):
    """Weights whose output channels are in the order (row, column, time, channel) of the sub-positions.

    border: for (time, channel, row, column), what is to be added at the border: rows and columns are of four kinds, the
    first, an odd one, an even one and the last.
    """

    weight: Tensor
    bias: Tensor
    border: Tensor


def fold(upsample: Upsample, patterns: list[Taps]) -> Folded:
    """Fold for frames of the result with these temporal patterns of taps, in the dtype of the original weights."""
    wide = torch.promote_types(upsample.conv.weight.dtype, torch.float32)
    conv = upsample.conv.weight.to(wide).permute(2, 3, 4, 0, 1).contiguous()
    channels = upsample.conv.out_channels
    up = upsample.upscale_conv.weight.to(wide).view(2, 2, upsample.times, channels, -1)
    taps = 1 + max(place for pattern in patterns for place, _ in pattern)
    weight = up.new_zeros(2, 2, len(patterns), taps, 2, 2, channels, up.shape[-1])
    turns = itertools.product(range(2), range(2), range(len(patterns)))
    for row, column, sub in () if weight.is_meta else turns:  # a shape is known without its values
        sums = defaultdict(int)  # of the taps that meet the same sub-position
        axes = (enumerate(taps) for taps in (patterns[sub], _SPACE[row], _SPACE[column]))
        for (k, (t, z)), (i, (r, y)), (j, (c, x)) in itertools.product(*axes):
            sums[t, r, c, y, x, z] += conv[k, i, j]
        for (t, r, c, y, x, z), kernel in sums.items():
            weight[row, column, sub, t, r, c].addmm_(kernel, up[y, x, z])
    weight = weight.permute(0, 1, 2, 6, 7, 3, 4, 5).flatten(0, 3)
    bias = torch.stack([_biases(upsample, pattern) for pattern in patterns])
    inner = bias[:, :, _INNER][..., _INNER]
    found = weight, inner[:, :, :2, :2].permute(2, 3, 0, 1).flatten(), bias - inner
    return Folded(*(part.to(upsample.conv.weight.dtype) for part in found))


def _biases(upsample: Upsample, pattern: Taps) -> Tensor:
    """What the result is for zeros, (channel, row, column), in a picture that has one row and column of each kind."""
    wide = torch.promote_types(upsample.conv.weight.dtype, torch.float32)
    constants = upsample.upscale_conv.bias.to(wide).view(2, 2, upsample.times, -1).permute(2, 3, 0, 1)
    constants, conv = constants.repeat(1, 1, 2, 2), upsample.conv.weight.to(wide)
    made = sum(F.conv2d(constants[sub], conv[:, :, tap], padding=1) for tap, (_, sub) in enumerate(pattern))
    return made + upsample.conv.bias.to(wide).view(-1, 1, 1)
