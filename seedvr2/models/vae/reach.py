"""How far back in time a causal network looks: after that many frames it no longer matters where a stream began."""

from fractions import Fraction

from torch import nn

from seedvr2.models.vae.blocks import Upsample
from seedvr2.models.vae.causal import CausalConv3d


def look_back(network: nn.Module, step: int = 1) -> int:
    """Frames before a frame on which its result depends, of an encoder or decoder with its layers registered in order.

    step: frames between two entries of its input (1 for frames, 4 for latents).
    """
    reach, distance = Fraction(0), Fraction(step)
    for layer in network.modules():
        if isinstance(layer, Upsample):
            distance /= layer.times
        elif isinstance(layer, CausalConv3d):
            reach += (layer.kernel_size[0] - 1) * distance
            distance *= layer.stride[0]
    return -int(-reach // 1)
