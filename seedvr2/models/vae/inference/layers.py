"""The layers of the VAE on frames (T, C, H, W) in the channels-last format, for inference.

A layer may overwrite its input where it says so, and never holds more than its input, its result and one activation
between them.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedvr2.models.vae.blocks import Downsample, FrameAttention, FrameNorm, MidBlock, ResBlock
from seedvr2.models.vae.causal import CausalConv3d
from seedvr2.models.vae.decoder import UpBlock
from seedvr2.models.vae.encoder import DownBlock
from seedvr2.models.vae.inference.norm import Source
from seedvr2.models.vae.inference.strips import Reach, Run, causal, convolve
from seedvr2.models.vae.inference.upsampling import FoldedUpsample
from seedvr2.tracing import alike, kind_of

_PIXELS = 1 << 17  # in one product of matrices
_QUERIES = 4096  # of one call at least on CUDA, whose kernel hands 32 to each of its processors and holds no scores

Layer = Callable[[Tensor, Run], Tensor]


def causal_conv(conv: CausalConv3d, x: Tensor, run: Run) -> Tensor:
    """`conv` of `x`."""
    return causal(run, conv, Source(x))


def output(norm: FrameNorm, conv: CausalConv3d, x: Tensor, run: Run) -> Tensor:
    """Norm, SiLU and convolution at the end of a network."""
    return causal(run, conv, Source(x, norm))


def res_block(block: ResBlock, x: Tensor, run: Run) -> Tensor:
    """As `block`; `x` is overwritten, by the result unless that is wider."""
    hidden = causal(run, block.conv1, Source(x, block.norm1))
    if isinstance(block.conv_shortcut, nn.Conv3d):
        x = _shortcut(block.conv_shortcut, x)
    return causal(run, block.conv2, Source(hidden, block.norm2), into=x)


def _shortcut(conv: nn.Conv3d, x: Tensor) -> Tensor:
    # Products of matrices, because convolutions of over 2^31 elements are not to be relied on. What becomes narrower
    # goes to the front of the memory of `x`, where it reaches no pixel that is still to come.
    pixels, weight = x.movedim(1, -1).flatten(0, -2), conv.weight.flatten(1)
    count, channels = len(pixels), len(weight)
    is_narrower = channels < x.shape[1] and pixels.is_contiguous()
    made = pixels.flatten()[: count * channels].view(count, -1) if is_narrower else x.new_empty(count, channels)
    for at in alike(range(0, count, _PIXELS), x.device):
        made[at : at + _PIXELS] = F.linear(pixels[at : at + _PIXELS], weight, conv.bias)
    return made.unflatten(0, (len(x), *x.shape[2:])).movedim(-1, 1)


def frame_attention(attention: FrameAttention, x: Tensor, run: Run) -> Tensor:
    """As `attention`, a frame and some of its queries at a time; `x` is overwritten by the result."""
    source = Source(x, attention.group_norm)
    height, width = x.shape[2:]
    for number in range(len(x)):
        tokens = source.normalised(number).flatten(2).transpose(1, 2).unsqueeze(1)  # with one head
        keys, values = attention.to_k(tokens), attention.to_v(tokens)
        count = max(run.tiling.rows(4 * height * width, x.device), _QUERIES if kind_of(x.device) == "cuda" else 1)
        mixed = torch.empty_like(tokens)
        for first in alike(range(0, height * width, count), x.device):
            part = tokens[:, :, first : first + count]
            made = F.scaled_dot_product_attention(attention.to_q(part), keys, values)
            mixed[:, :, first : first + count] = attention.to_out(made)
        x[number] += mixed[0, 0].T.unflatten(1, (height, width))
    return x


def downsample(layer: Downsample, x: Tensor, run: Run) -> Tensor:
    """As `layer`."""
    conv = layer.conv
    count, _, height, width = x.shape
    kernel = run.kernel(conv.weight, conv.bias, stride=conv.stride[:2], pad=0)
    made = x.new_empty(-(-count // conv.stride[0]), height // 2, width // 2, conv.out_channels).movedim(-1, 1)

    def put(values: Tensor, frames: slice, rows: slice) -> None:
        made[frames, :, rows] = values

    convolve(run, conv, Source(x), kernel, put, reach=Reach(above=0, below=2, right=1, stride=2))
    return made


def down_block(block: DownBlock) -> list[Layer]:
    """The layers of a stage of the encoder."""
    resnets = [partial(res_block, resnet) for resnet in block.resnets]
    return resnets + [partial(downsample, layer) for layer in block.downsamplers]


def up_block(block: UpBlock, folded: FoldedUpsample | None) -> list[Layer]:
    """The layers of a stage of the decoder, the up-sampling last if there is one."""
    resnets = [partial(res_block, resnet) for resnet in block.resnets]
    return resnets + [partial(folded, layer.conv) for layer in block.upsamplers]


def mid_block(block: MidBlock) -> list[Layer]:
    """The layers of a middle block."""
    first, second = (partial(res_block, resnet) for resnet in block.resnets)
    return [first, partial(frame_attention, block.attentions[0]), second]
