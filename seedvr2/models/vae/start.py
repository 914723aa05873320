"""Where VAE training starts: a linear transform codec, so that training refines pictures instead of discovering them.

Fresh random layers need thousands of steps before even the mean colour passes the norms, which remove the mean of
every frame. Here residual branches are silent; each down-sampling is a 2 x 2 Haar transform that keeps the lowest
frequencies it has channels for, each up-sampling its inverse, with soft edges between pixels that no detail is left to
tell apart. A latent holds the newest of its four frames; the others are linear interpolations between latents, and
where there are channels enough, three hold by how much the mean luma of each patch of 8 x 8 pixels differs from that,
and six more its slopes, without which everything that moves would cross-fade. Before the two output norms every signal
stands beside its negative and large constants, which makes norm and SiLU nearly linear.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedvr2.errors import UserError
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.blocks import FrameAttention, FrameNorm, ResBlock
from seedvr2.models.vae.decoder import Decoder
from seedvr2.models.vae.encoder import Encoder

# Sign patterns of the Haar bands on the 2 x 2 sub-positions (row, column).
_BANDS = torch.tensor([[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]).float()
_DETAILS = (0, 1, 1, 2)  # along how many axes a band varies
_COLOURS = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-0.5, 1.0, -0.5]])  # luma, two colour differences
_SHARES = torch.tensor([1 / 3, 1 / 2, 2 / 3])  # rows of _COLOURS times these give the analysis
_CHROMA_COST = 3  # detail of luma that is worth as much as the mean of a colour difference
_LARGE, _SMALL = 4.0, 0.5  # constants at the output norms, and elsewhere
_SHIFT = 3.0  # argument of SiLU around which it is nearly linear
_SLOPE = float(torch.sigmoid(torch.tensor(_SHIFT)) * (1 + _SHIFT * (1 - torch.sigmoid(torch.tensor(_SHIFT)))))
_MEAN_GAIN, _DETAIL_GAIN, _MOTION_GAIN = 2.5, 24.0, 16.0  # bring latents near unit deviation
_MOTIONS = 3  # frames between two latents
_MOTION_BANDS = (3, 1)  # per frame, the most that fit: the mean of the difference alone, or its slopes too
_LEAST = 12  # signals that a still picture needs before motion gets its own
_NOISE = 0.02  # of usual random weights, to break ties
_LOGVAR = -6.0
_SMOOTH = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16  # after repetition: bilinear
_SOFT = torch.outer(*[torch.tensor([0.15, 0.7, 0.15])] * 2)  # of such kernels about the best on photographs

Path = tuple[int, ...]  # colour, then the band at each halving


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
    final = _places(encoder.conv_norm_out, vae.latent_channels, min(widths[2:]))
    bands = next((n for n in _MOTION_BANDS if len(final.plus) >= _LEAST + _MOTIONS * n), 0)
    still = final.plus[: len(final.plus) - _MOTIONS * bands]
    paths = _paths([widths[0] * 3 // 4, min(widths[1], widths[2]) * 3 // 4, len(still)])
    picture = _places(decoder.conv_norm_out, 3, widths[0])
    _silence(vae, generator)
    # Encoder: colours, then three Haar levels, then gains.
    _centre(encoder.conv_in, _COLOURS * _SHARES[:, None], range(3), range(3))
    for level, block in enumerate(encoder.down_blocks[:3]):
        targets = still if level == 2 else range(len(paths[level + 1]))
        _analyse(block.downsamplers[0].conv, paths[level], paths[level + 1], targets)
    if bands:
        _analyse_motion(encoder, paths, final.plus[len(still) :])
    last = encoder.down_blocks[2].downsamplers[0].conv
    last.weight[final.minus] = -last.weight[final.plus]
    gains = [_DETAIL_GAIN if any(path[1:]) else _MEAN_GAIN for path in paths[3]]
    gains = torch.tensor(gains + ([_MOTION_GAIN] + [_DETAIL_GAIN] * (bands - 1)) * (_MOTIONS if bands else 0))
    _set_constants(last, final.constants)
    for shortcut in _shortcuts(encoder.down_blocks[3]):
        _set_constants(shortcut, final.constants, first=shortcut.in_channels)
    _linear_output(encoder.conv_norm_out, encoder.conv_out, final, gains.diag())
    encoder.conv_out.bias[vae.latent_channels :] = _LOGVAR
    # Decoder: the same backwards.
    _centre(decoder.conv_in, (1 / gains).diag(), range(len(gains)), range(len(gains)))
    for level, block in zip((3, 2, 1), decoder.up_blocks[:3], strict=True):
        targets = picture.plus if level == 1 else range(len(paths[level - 1]))
        _synthesise(block.upsamplers[0].upscale_conv, paths[level], paths[level - 1], targets)
        _soften(block.upsamplers[0].conv, paths[level - 1], paths[3], targets)
    if bands:
        _synthesise_motion(decoder, paths, range(len(still), len(gains)))
    spread = decoder.up_blocks[2].upsamplers[0].conv
    spread.weight[picture.minus] = -spread.weight[picture.plus]
    _set_constants(spread, picture.constants)
    for shortcut in _shortcuts(decoder.up_blocks[3]):
        _set_constants(shortcut, picture.constants, first=shortcut.in_channels)
    _linear_output(decoder.conv_norm_out, decoder.conv_out, picture, _COLOURS.T)


def _paths(capacity: Sequence[int]) -> list[list[Path]]:
    """Signals at full resolution and after each halving: the lowest frequencies that fit."""
    levels: list[list[Path]] = [[(colour,) for colour in range(3)]]
    for room in capacity:
        finer = [(*path, band) for path, band in product(levels[-1], range(4))]
        levels.append(sorted(finer, key=_cost)[:room])
    return levels


def _cost(path: Path) -> tuple[float, Path]:
    squares = sum(4.0 ** (2 - i) * _DETAILS[band] for i, band in enumerate(path[1:]))  # finest level first
    return squares + (_CHROMA_COST if path[0] else 0), path


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
    conv.weight[torch.tensor(outputs)] = 0
    conv.bias[torch.tensor(outputs)] = 0
    conv.weight[torch.tensor(outputs)[:, None], torch.tensor(inputs), -1, row, column] = matrix


def _set_constants(conv: nn.Conv3d, values: Tensor, *, first: int = 0) -> None:
    """Channels from `first` on that have a value, and not zero, become that constant."""
    for channel in range(first, min(conv.out_channels, len(values))):
        if values[channel]:
            conv.weight[channel] *= _NOISE
            conv.bias[channel] = values[channel]


def _analyse(conv: nn.Conv3d, coarse: list[Path], fine: list[Path], outputs: Sequence[int]) -> None:
    """Make a down-sampling convolution the Haar analysis of the newest frame; signals enter on the first channels."""
    for output, path in zip(outputs, fine, strict=True):
        conv.weight[output] = 0
        conv.bias[output] = 0
        conv.weight[output, coarse.index(path[:-1]), -1, :2, :2] = _BANDS[path[-1]] / 4


def _synthesise(conv: nn.Conv3d, fine: list[Path], coarse: list[Path], outputs: Sequence[int]) -> None:
    """Make an upscaling convolution the Haar synthesis, for every sub-position in time alike."""
    width = conv.in_channels
    weight = conv.weight.view(2, 2, -1, width, width)  # row, column, time, output, input
    for output, path in zip(outputs, coarse, strict=True):
        weight[:, :, :, output] = 0
        for source, child in enumerate(fine):
            if child[:-1] == path:
                weight[:, :, :, output, source] = _BANDS[child[-1]][:, :, None]


def _soften(conv: nn.Conv3d, coarse: list[Path], kept: list[Path], outputs: Sequence[int]) -> None:
    """Let the convolution behind an upscaling mix neighbours in means of which the latents keep no detail to add."""
    for output, path in zip(outputs, coarse, strict=True):
        has_detail = any(other[: len(path)] == path and other[len(path)] for other in kept)
        if not any(path[1:]) and not has_detail:
            conv.weight[output, output] = conv.weight[output, output, :, 1:2, 1:2] * _SOFT


def _analyse_motion(encoder: Encoder, paths: list[list[Path]], outputs: Sequence[int]) -> None:
    """Make outputs of the last down-sampling the deviations of frames 4k - 3, 4k - 2 and 4k - 1 of latent k.

    A deviation is the luma of a patch minus the mean of its two neighbours in time, at the rate of the layer. Of each
    frame come its mean over the patch, or that and its slopes.
    """
    bands = _BANDS[: len(outputs) // _MOTIONS] / 4
    between = torch.tensor([-0.5, 1.0, -0.5])[:, None, None]  # over (time, row, column)
    before, middle, after = (outputs[i * len(bands) : (i + 1) * len(bands)] for i in range(_MOTIONS))
    first, last = (encoder.down_blocks[level].downsamplers[0].conv for level in (1, 2))
    luma, odd = [levels.index((0,) * len(levels[0])) for levels in paths[1:3]], len(paths[2])
    for conv, added in ((first, [odd]), (last, outputs)):
        conv.weight[added] = 0
        conv.bias[added] = 0
    first.weight[odd, luma[0], :, :2, :2] = between * bands[0]
    last.weight[middle, luma[1], :, :2, :2] = between * bands[:, None]
    last.weight[before, odd, -2, :2, :2] = last.weight[after, odd, -1, :2, :2] = bands


def _synthesise_motion(decoder: Decoder, paths: list[list[Path]], sources: Sequence[int]) -> None:
    """Add the deviations to the interpolated frames that they belong to, each at the layer that makes its frame."""
    ups = [block.upsamplers[0] for block in decoder.up_blocks[:2]]
    odd = even = len(paths[2])  # channels of the deviations that one layer, and the next, add
    even += 1
    for up in ups:
        width = up.conv.in_channels
        up.upscale_conv.weight.view(4, up.times, width, width)[:, :, [odd, even]] = 0
        up.upscale_conv.bias.view(4, up.times, width)[:, :, [odd, even]] = 0
    first, second = (up.upscale_conv.weight.view(4, up.times, up.conv.in_channels, -1) for up in ups)
    bands = len(sources) // _MOTIONS
    before, middle, after = (sources[i * bands : (i + 1) * bands] for i in range(_MOTIONS))
    signs = _BANDS[:bands].flatten(1).T  # (sub-position, band)
    first[:, 0, odd, before] = first[:, 1, odd, after] = signs
    first[:, 0, even, middle] = signs
    second[:, 0, odd, odd] = 1
    own = _SMOOTH if bands == 1 else F.pad(torch.ones(1, 1), (1, 1, 1, 1))  # means alone need smoothing over patches
    for up, added, levels, kernel in zip(ups, (even, odd), (paths[2], paths[1]), (own, _SMOOTH), strict=True):
        up.conv.weight[levels.index((0,) * len(levels[0])), added, -1] = kernel
    ups[0].conv.weight[odd] = 0
    ups[0].conv.weight[odd, odd, -1] = own


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
