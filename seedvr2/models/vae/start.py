"""Where VAE training starts: a linear codec, so that training refines pictures instead of discovering them.

Fresh random layers need thousands of steps before even the mean colour passes the norms, which remove the mean of every
frame. Here residual branches are silent and the other convolutions are those of `linear_codec.py`, or of `overlap.py`
if patches shall overlap. A latent holds the newest of its four frames; the others are linear interpolations between
latents, and where there are channels enough, three hold by how much the mean luma of each patch of 8 x 8 pixels differs
from that, and six more its slopes, without which everything that moves would cross-fade. Before the two output norms
every signal stands beside its negative and large constants, which makes norm and SiLU nearly linear.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedvr2.errors import UserError
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.blocks import FrameAttention, FrameNorm, ResBlock
from seedvr2.models.vae.decoder import Decoder
from seedvr2.models.vae.encoder import Encoder
from seedvr2.models.vae.linear_codec import (
    BANDS,
    COLOURS,
    ENERGIES,
    Changes,
    Path,
    all_paths,
    fit_changes,
    fit_codec,
    halved,
    lowest,
    merging,
)
from seedvr2.models.vae.overlap import overlapping, refitted

_LARGE, _SMALL = 4.0, 0.5  # constants at the output norms, and elsewhere
_SHIFT = 3.0  # argument of SiLU around which it is nearly linear
_SLOPE = float(torch.sigmoid(torch.tensor(_SHIFT)) * (1 + _SHIFT * (1 - torch.sigmoid(torch.tensor(_SHIFT)))))
_MOTION_GAINS = (16.0, 24.0, 24.0)  # of means and slopes; they bring latents near unit deviation
_MOTIONS = 3  # frames between two latents
_MOTION_BANDS = (3, 1)  # per frame, the most that fit: the mean of the difference alone, or its slopes too
_LEAST = 12  # signals that a still picture needs before motion gets its own
_CARRIED = 48  # signals of an eighth of the resolution that are worth a decoder's channels
_NOISE = 0.02  # of usual random weights, to break ties
_LOGVAR = -6.0


class Places(NamedTuple):
    """Channels of the signals before an output norm, those of their negatives, and the value of every other channel."""

    plus: list[int]
    minus: list[int]
    constants: Tensor


@torch.no_grad()
def start_as_codec(vae: VideoVAE, generator: torch.Generator, *, overlap: int = 0) -> None:
    """Overwrite the weights of a fresh VAE in place; `generator` draws the noise that breaks ties.

    overlap: updates in which the codec learns to let its patches overlap (`overlap.py`); 0 for the closed form.

    Raises UserError for a VAE whose norms have too few channels per group.
    """
    encoder, decoder = vae.encoder, vae.decoder
    widths = [block.resnets[-1].conv2.out_channels for block in encoder.down_blocks]
    colours = all_paths(0)
    half = lowest(halved(colours), min(widths[:2]) * 3 // 4)
    quarter = lowest(halved(half), min(widths[1:3]) * 3 // 4)
    final = _places(encoder.conv_norm_out, min(vae.latent_channels, 4 * len(quarter)), min(widths[2:]))
    picture = _places(decoder.conv_norm_out, 3, min(widths[:2]))
    bands = next((n for n in _MOTION_BANDS if len(final.plus) >= _LEAST + _MOTIONS * n), 0)
    motions = _MOTIONS * bands
    still = len(final.plus) - motions
    room = min(widths[3] * 3 // 4, _CARRIED), min(widths[2:]) * 3 // 4, min(widths[1:3]) * 3 // 4
    codec = fit_codec(tuple(half), tuple(quarter), still, room)
    if overlap:
        codec = overlapping(codec, overlap)
    _silence(vae, generator)
    # Encoder: colours, three halvings, then gains.
    downs = [block.downsamplers[0].conv for block in encoder.down_blocks[:3]]
    _centre(encoder.conv_in, COLOURS / ENERGIES[:, None], range(3), range(3))
    for conv, kernel, outputs in zip(
        downs, codec.analysis, (range(len(half)), range(len(quarter)), final.plus[:still]), strict=True
    ):
        _pick(conv, kernel, outputs)
    if bands:
        _analyse_motion(encoder, half, quarter, final.plus[still:])
    downs[2].weight[final.minus] = -downs[2].weight[final.plus]
    motion_gains = torch.tensor(_MOTION_GAINS[:bands] * _MOTIONS)
    _set_constants(downs[2], final.constants)
    for shortcut in _shortcuts(encoder.down_blocks[3]):
        _set_constants(shortcut, final.constants, first=shortcut.in_channels)
    _linear_output(encoder.conv_norm_out, encoder.conv_out, final, _beside(codec.mixing, motion_gains.diag()))
    encoder.conv_out.bias[vae.latent_channels :] = _LOGVAR
    # Decoder: predictions of the bands of finer and finer scales.
    carried = len(codec.signals[0])
    _predict(decoder.conv_in, codec.kernels[0], range(carried), range(still))
    _centre(
        decoder.conv_in, (1 / motion_gains).diag(), range(carried, carried + motions), range(still, still + motions)
    )
    for level, block in enumerate(decoder.up_blocks[:3]):
        fine, kernel = codec.signals[level], codec.kernels[level + 1]
        places = picture.plus if level == 2 else range(len(kernel))
        made, up = places[: kernel.shape[1]], block.upsamplers[0]
        _synthesise(up.upscale_conv, fine, made)
        _predict(up.conv, kernel, places, made)
    if bands:
        changes = fit_changes(*map(tuple, codec.signals[1:3]), bands)
        if overlap:
            changes = refitted(changes, codec)
        _synthesise_motion(decoder, changes, range(carried, carried + motions))
    spread = decoder.up_blocks[2].upsamplers[0].conv
    spread.weight[picture.minus] = -spread.weight[picture.plus]
    _set_constants(spread, picture.constants)
    for shortcut in _shortcuts(decoder.up_blocks[3]):
        _set_constants(shortcut, picture.constants, first=shortcut.in_channels)
    _linear_output(decoder.conv_norm_out, decoder.conv_out, picture, COLOURS.T[:, :, None, None])


def _places(norm: FrameNorm, signals: int, usable: int) -> Places:
    """Spread signals and their negatives over the groups of a norm, each group with two constants."""
    size = norm.num_channels // norm.num_groups
    groups = usable // size
    room = groups * ((size - 2) // 2)
    if room < min(signals, 3):
        raise UserError(
            f"a VAE with {usable} channels for signals in norm groups of {size} cannot start as a codec: "
            "use wider layers, other groups, or start: random"
        )
    signals = min(signals, room)
    plus = [group * size + 2 * slot for slot in range((size - 2) // 2) for group in range(groups)][:signals]
    minus = [channel + 1 for channel in plus]
    constants = _LARGE * torch.tensor([1.0, -1.0]).repeat((norm.num_channels + 1) // 2)[: norm.num_channels]
    constants[plus + minus] = 0
    return Places(plus, minus, constants)


def _silence(vae: VideoVAE, generator: torch.Generator) -> None:
    """Residual branches add nothing, resampling and shortcut convolutions pass their channels through."""
    for module in vae.modules():
        if isinstance(module, ResBlock):
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(module.conv2.bias)
        elif isinstance(module, FrameAttention):
            nn.init.zeros_(module.to_out[0].weight)
            nn.init.zeros_(module.to_out[0].bias)
    blocks = [*vae.encoder.down_blocks, *vae.decoder.up_blocks]
    changing = [vae.encoder.conv_in, vae.decoder.conv_in, *(conv for block in blocks for conv in _shortcuts(block))]
    for block in blocks:
        changing += [
            resample.conv for resample in getattr(block, "downsamplers", []) or getattr(block, "upsamplers", [])
        ]
    for conv in changing:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="linear", generator=generator)
        conv.weight.mul_(_NOISE)
        same = range(min(conv.in_channels, conv.out_channels))
        _centre(conv, torch.eye(len(same)), same, same)
        alternating = _SMALL * torch.tensor([1.0, -1.0]).repeat(conv.out_channels)[: conv.out_channels]
        _set_constants(conv, alternating, first=len(same))
    for block in vae.decoder.up_blocks:
        for upsample in block.upsamplers:
            if upsample.times == 2:  # each latent came twice: averaging neighbours interpolates between latents
                upsample.conv.weight[:, :, -1] /= 2
                upsample.conv.weight[:, :, -2] = upsample.conv.weight[:, :, -1]


def _shortcuts(block: nn.Module) -> list[nn.Conv3d]:
    return [resnet.conv_shortcut for resnet in block.resnets if isinstance(resnet.conv_shortcut, nn.Conv3d)]


def _clear(conv: nn.Conv3d, outputs: Sequence[int] | Tensor) -> None:
    conv.weight[outputs] = 0
    conv.bias[outputs] = 0


def _centre(conv: nn.Conv3d, matrix: Tensor, outputs: Sequence[int], inputs: Sequence[int]) -> None:
    """Replace the newest frame's centre tap between some channels by a matrix (outputs, inputs)."""
    row, column = conv.kernel_size[1] // 2, conv.kernel_size[2] // 2
    outputs, inputs = (torch.tensor(places, dtype=torch.long) for places in (outputs, inputs))
    _clear(conv, outputs)
    conv.weight[outputs[:, None], inputs, -1, row, column] = matrix


def _set_constants(conv: nn.Conv3d, values: Tensor, *, first: int = 0) -> None:
    """Channels from `first` on that have a value, and not zero, become that constant."""
    for channel in range(first, min(conv.out_channels, len(values))):
        if values[channel]:
            conv.weight[channel] *= _NOISE
            conv.bias[channel] = values[channel]


def _pick(conv: nn.Conv3d, filters: Tensor, outputs: Sequence[int]) -> None:
    """Let outputs of a down-sampling convolution be filters (outputs, inputs, k, k) of the newest frame."""
    _clear(conv, outputs)
    side = filters.shape[-1]
    conv.weight[outputs, : filters.shape[1], -1, :side, :side] = filters


def _synthesise(conv: nn.Conv3d, fine: Sequence[Path], outputs: Sequence[int]) -> None:
    """Make an upscaling convolution the Haar synthesis, for every sub-position in time alike.

    Other outputs repeat what they say of the first position, else training draws their differences on smooth pictures.
    """
    width = conv.in_channels
    weight, bias = conv.weight.view(2, 2, -1, width, width), conv.bias.view(2, 2, -1, width)
    weight.copy_(weight[:1, :1].clone().expand_as(weight))  # row, column, time, output, input
    bias.copy_(bias[:1, :1].clone().expand_as(bias))
    weight[:, :, :, outputs] = 0
    weight[:, :, :, outputs, : len(fine)] = merging(fine).movedim(0, 2)[:, :, None]


def _predict(conv: nn.Conv3d, kernel: Tensor, outputs: Sequence[int], inputs: Sequence[int]) -> None:
    """Let outputs of a convolution be a kernel (outputs, inputs, 3, 3) of inputs, over time what `_silence` made."""
    over_time = conv.weight[0, 0, :, 1, 1].clone()
    _clear(conv, outputs)
    conv.weight[torch.tensor(outputs)[:, None], torch.tensor(inputs)] = kernel[:, :, None] * over_time[:, None, None]


def _analyse_motion(encoder: Encoder, half: Sequence[Path], quarter: Sequence[Path], outputs: Sequence[int]) -> None:
    """Make outputs of the last down-sampling the deviations of frames 4k - 3, 4k - 2 and 4k - 1 of latent k.

    A deviation is the luma of a patch minus the mean of its two neighbours in time, at the rate of the layer. Of each
    frame come its mean over the patch, or that and its slopes.
    """
    bands = BANDS[: len(outputs) // _MOTIONS] / 4
    between = torch.tensor([-0.5, 1.0, -0.5])[:, None, None]  # over (time, row, column)
    before, middle, after = (outputs[i * len(bands) : (i + 1) * len(bands)] for i in range(_MOTIONS))
    first, last = (encoder.down_blocks[level].downsamplers[0].conv for level in (1, 2))
    luma, odd = [paths.index((0,) * len(paths[0])) for paths in (half, quarter)], len(quarter)
    for conv, added in ((first, [odd]), (last, outputs)):
        _clear(conv, added)
    first.weight[odd, luma[0], :, :2, :2] = between * bands[0]
    last.weight[middle, luma[1], :, :2, :2] = between * bands[:, None]
    last.weight[before, odd, -2, :2, :2] = last.weight[after, odd, -1, :2, :2] = bands


def _synthesise_motion(decoder: Decoder, changes: Changes, sources: Sequence[int]) -> None:
    """Add the deviations to the interpolated frames that they belong to, each at the layer that makes its frame."""
    ups = [block.upsamplers[0] for block in decoder.up_blocks[:2]]
    odd = even = len(changes.quarter)  # channels of the deviations that one layer, and the next, add
    even += 1
    for up in ups:
        width = up.conv.in_channels
        up.upscale_conv.weight.view(4, up.times, width, width)[:, :, [odd, even]] = 0
        up.upscale_conv.bias.view(4, up.times, width)[:, :, [odd, even]] = 0
    first, second = (up.upscale_conv.weight.view(4, up.times, up.conv.in_channels, -1) for up in ups)
    bands = len(sources) // _MOTIONS
    before, middle, after = (sources[i * bands : (i + 1) * bands] for i in range(_MOTIONS))
    signs = BANDS[:bands].flatten(1).T  # (sub-position, band)
    first[:, 0, odd, before] = first[:, 1, odd, after] = signs
    first[:, 0, even, middle] = signs
    second[:, 0, odd, odd] = 1
    for up, added, kernel in zip(ups, (even, odd), (changes.quarter, changes.half), strict=True):
        up.conv.weight[: len(kernel), added, -1] = kernel[:, 0]
    ups[0].conv.weight[odd] = 0
    ups[0].conv.weight[odd, odd, -1] = changes.mean[0, 0]


def _beside(kernel: Tensor, matrix: Tensor) -> Tensor:
    """A kernel (outputs, inputs, j, j) for some channels and a matrix, of the same position, for those after them."""
    outputs, inputs, side = kernel.shape[0], kernel.shape[1], kernel.shape[-1]
    result = kernel.new_zeros(outputs + len(matrix), inputs + len(matrix), side, side)
    result[:outputs, :inputs] = kernel
    result[outputs:, inputs:, side // 2, side // 2] = matrix
    return result


def _linear_output(norm: FrameNorm, conv: nn.Conv3d, places: Places, kernel: Tensor) -> None:
    """Set norm and output convolution so that together with SiLU they apply a kernel (outputs, signals, j, j)."""
    size = norm.num_channels // norm.num_groups
    deviation = (places.constants.view(-1, size) ** 2).mean(dim=1).sqrt().repeat_interleave(size)
    norm.weight.copy_(deviation)
    norm.bias.fill_(_SHIFT)
    outputs, margin = range(len(kernel)), (conv.kernel_size[1] - kernel.shape[-1]) // 2
    applied = F.pad(kernel / (2 * _SLOPE), (margin,) * 4)
    conv.weight.mul_(_NOISE)
    _clear(conv, outputs)
    conv.weight[: len(kernel), places.plus, -1] = applied
    conv.weight[: len(kernel), places.minus, -1] = -applied
    conv.bias.zero_()
