"""Where VAE training starts: a linear codec, so that training refines pictures instead of discovering them.

Fresh random layers need thousands of steps before even the mean colour passes the norms, which remove the mean of
every frame. Here residual branches are silent and the other convolutions are those of `linear_codec.py`. A latent holds
the newest of its four frames; the others are linear interpolations between latents, and where there are channels
enough, three hold by how much the mean luma of each patch of 8 x 8 pixels differs from that, and six more its slopes,
without which everything that moves would cross-fade. Before the two output norms every signal stands beside its
negative and large constants, which makes norm and SiLU nearly linear.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seedvr2.errors import UserError
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.blocks import FrameAttention, FrameNorm, ResBlock
from seedvr2.models.vae.decoder import Decoder
from seedvr2.models.vae.encoder import Encoder
from seedvr2.models.vae.linear_codec import (
    BANDS,
    COLOURS,
    SHARES,
    Path,
    fit_changes,
    fit_codec,
    halved,
    lowest,
    parents,
)

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
def start_as_codec(vae: VideoVAE, generator: torch.Generator) -> None:
    """Overwrite the weights of a fresh VAE in place; `generator` draws the noise that breaks ties.

    Raises UserError for a VAE whose norms have too few channels per group.
    """
    encoder, decoder = vae.encoder, vae.decoder
    widths = [block.resnets[-1].conv2.out_channels for block in encoder.down_blocks]
    colours = [(colour,) for colour in range(3)]
    half = lowest(halved(colours), widths[0] * 3 // 4)
    quarter = lowest(halved(half), min(widths[1:3]) * 3 // 4)
    final = _places(encoder.conv_norm_out, min(vae.latent_channels, 4 * len(quarter)), min(widths[2:]))
    picture = _places(decoder.conv_norm_out, 3, widths[0])
    bands = next((n for n in _MOTION_BANDS if len(final.plus) >= _LEAST + _MOTIONS * n), 0)
    motions = _MOTIONS * bands
    still = len(final.plus) - motions
    room = [min(widths[3] * 3 // 4, widths[3] - motions, _CARRIED), min(widths[2:]) * 3 // 4, min(widths[1:3]) * 3 // 4]
    codec = fit_codec(quarter, still, room)
    _silence(vae, generator)
    # Encoder: colours, two Haar levels, principal components, then gains.
    downs = [block.downsamplers[0].conv for block in encoder.down_blocks[:3]]
    _centre(encoder.conv_in, COLOURS * SHARES[:, None], range(3), range(3))
    _analyse(downs[0], colours, half)
    _analyse(downs[1], half, quarter)
    _pick(downs[2], codec.analysis, final.plus[:still])
    if bands:
        _analyse_motion(encoder, half, quarter, final.plus[still:])
    downs[2].weight[final.minus] = -downs[2].weight[final.plus]
    gains = torch.cat([1 / codec.deviations, torch.tensor(_MOTION_GAINS[:bands] * _MOTIONS)])
    _set_constants(downs[2], final.constants)
    for shortcut in _shortcuts(encoder.down_blocks[3]):
        _set_constants(shortcut, final.constants, first=shortcut.in_channels)
    _linear_output(encoder.conv_norm_out, encoder.conv_out, final, gains.diag())
    encoder.conv_out.bias[vae.latent_channels :] = _LOGVAR
    # Decoder: bands of finer and finer scales.
    carried = len(codec.signals[0])
    _predict(decoder.conv_in, codec.kernels[0] / gains[:still, None, None], range(carried), range(still))
    _centre(decoder.conv_in, (1 / gains[still:]).diag(), range(carried, carried + motions), range(still, len(gains)))
    for level, block in enumerate(decoder.up_blocks[:3]):
        made, wanted = parents(codec.signals[level]), codec.signals[level + 1]
        places = picture.plus if level == 2 else range(len(wanted))
        up = block.upsamplers[0]
        _synthesise(up.upscale_conv, codec.signals[level], made, places[: len(made)])
        _predict(up.conv, codec.kernels[level + 1], places, places[: len(made)])
    if bands:
        _synthesise_motion(decoder, *codec.signals[1:3], range(carried, carried + motions))
    spread = decoder.up_blocks[2].upsamplers[0].conv
    spread.weight[picture.minus] = -spread.weight[picture.plus]
    _set_constants(spread, picture.constants)
    for shortcut in _shortcuts(decoder.up_blocks[3]):
        _set_constants(shortcut, picture.constants, first=shortcut.in_channels)
    _linear_output(decoder.conv_norm_out, decoder.conv_out, picture, COLOURS.T)


def _places(norm: FrameNorm, signals: int, usable: int) -> Places:
    """Spread signals and their negatives over the groups of a norm, each group with two constants."""
    size = norm.num_channels // norm.num_groups
    groups = usable // size
    room = groups * ((size - 2) // 2)
    if room < min(signals, 3):
        raise UserError(
            f"a VAE with {size} channels per norm group cannot start as a codec: use fewer groups, or start: random"
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


def _centre(conv: nn.Conv3d, matrix: Tensor, outputs: Sequence[int], inputs: Sequence[int]) -> None:
    """Replace the newest frame's centre tap between some channels by a matrix (outputs, inputs)."""
    row, column = conv.kernel_size[1] // 2, conv.kernel_size[2] // 2
    outputs, inputs = (torch.tensor(places, dtype=torch.long) for places in (outputs, inputs))
    conv.weight[outputs] = 0
    conv.bias[outputs] = 0
    conv.weight[outputs[:, None], inputs, -1, row, column] = matrix


def _set_constants(conv: nn.Conv3d, values: Tensor, *, first: int = 0) -> None:
    """Channels from `first` on that have a value, and not zero, become that constant."""
    for channel in range(first, min(conv.out_channels, len(values))):
        if values[channel]:
            conv.weight[channel] *= _NOISE
            conv.bias[channel] = values[channel]


def _analyse(conv: nn.Conv3d, coarse: Sequence[Path], fine: Sequence[Path]) -> None:
    """Make a down-sampling convolution the Haar analysis of the newest frame, on the first channels."""
    filters = torch.zeros(len(fine), len(coarse), 2, 2)
    for output, path in enumerate(fine):
        filters[output, coarse.index(path[:-1])] = BANDS[path[-1]] / 4
    _pick(conv, filters, range(len(fine)))


def _pick(conv: nn.Conv3d, filters: Tensor, outputs: Sequence[int]) -> None:
    """Let outputs of a down-sampling convolution be filters (outputs, inputs, 2, 2) of the newest frame."""
    conv.weight[outputs] = 0
    conv.bias[outputs] = 0
    conv.weight[outputs, : filters.shape[1], -1, :2, :2] = filters


def _synthesise(conv: nn.Conv3d, fine: Sequence[Path], coarse: Sequence[Path], outputs: Sequence[int]) -> None:
    """Make an upscaling convolution the Haar synthesis, for every sub-position in time alike.

    Other outputs repeat what they say of the first position, else training draws their differences on smooth pictures.
    """
    width = conv.in_channels
    weight, bias = conv.weight.view(2, 2, -1, width, width), conv.bias.view(2, 2, -1, width)
    weight.copy_(weight[:1, :1].clone().expand_as(weight))  # row, column, time, output, input
    bias.copy_(bias[:1, :1].clone().expand_as(bias))
    for output, path in zip(outputs, coarse, strict=True):
        weight[:, :, :, output] = 0
        for source, child in enumerate(fine):
            if child[:-1] == path:
                weight[:, :, :, output, source] = BANDS[child[-1]][:, :, None]


def _predict(conv: nn.Conv3d, kernel: Tensor, outputs: Sequence[int], inputs: Sequence[int]) -> None:
    """Let outputs of a convolution be a 3 x 3 kernel (outputs, inputs, 3, 3) of inputs; over time it stays as it is."""
    over_time = conv.weight[0, 0, :, 1, 1].clone()
    conv.weight[outputs] = 0
    conv.bias[outputs] = 0
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
        conv.weight[added] = 0
        conv.bias[added] = 0
    first.weight[odd, luma[0], :, :2, :2] = between * bands[0]
    last.weight[middle, luma[1], :, :2, :2] = between * bands[:, None]
    last.weight[before, odd, -2, :2, :2] = last.weight[after, odd, -1, :2, :2] = bands


def _synthesise_motion(decoder: Decoder, quarter: Sequence[Path], half: Sequence[Path], sources: Sequence[int]) -> None:
    """Add the deviations to the interpolated frames that they belong to, each at the layer that makes its frame."""
    ups = [block.upsamplers[0] for block in decoder.up_blocks[:2]]
    odd = even = len(quarter)  # channels of the deviations that one layer, and the next, add
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
    kernels = fit_changes(quarter, half, bands)
    for up, added, kernel in zip(ups, (even, odd), kernels, strict=True):
        up.conv.weight[: len(kernel), added, -1] = kernel[:, 0]
    ups[0].conv.weight[odd] = 0
    ups[0].conv.weight[odd, odd, -1] = kernels[0][quarter.index((0, 0, 0)), 0]


def _linear_output(norm: FrameNorm, conv: nn.Conv3d, places: Places, matrix: Tensor) -> None:
    """Set norm and output convolution so that together with SiLU they apply a matrix (outputs, signals)."""
    size = norm.num_channels // norm.num_groups
    deviation = (places.constants.view(-1, size) ** 2).mean(dim=1).sqrt().repeat_interleave(size)
    norm.weight.copy_(deviation)
    norm.bias.fill_(_SHIFT)
    outputs = range(len(matrix))
    conv.weight.mul_(_NOISE)
    _centre(conv, matrix / (2 * _SLOPE), outputs, places.plus)
    row, column = conv.kernel_size[1] // 2, conv.kernel_size[2] // 2
    conv.weight[: len(matrix), places.minus, -1, row, column] = -matrix / (2 * _SLOPE)
    conv.bias.zero_()
