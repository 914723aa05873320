"""A linear codec of pictures: what a VAE can do at best before it has learned anything but how pictures are made.

Signals are the bands of a Haar transform, 2 x 2 pixels at a time, of luma and two colour differences. Latents are the
principal components of the bands of 8 x 8 pixels; the decoder predicts from each latent and its 8 neighbours the bands
that a network of its width can carry, and again from the bands of each finer scale, so that patches meet without
steps. All of it is fitted in closed form to noise with the spectrum of photographs; no picture is needed.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Path = tuple[int, ...]  # colour, then the band at each halving

# Sign patterns of the Haar bands on the 2 x 2 sub-positions (row, column).
BANDS = torch.tensor([[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]).float()
COLOURS = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-0.5, 1.0, -0.5]])  # luma, two colour differences
SHARES = torch.tensor([1 / 3, 1 / 2, 2 / 3])  # rows of COLOURS times these give the analysis
_DETAILS = (0, 1, 1, 2)  # along how many axes a band varies
_CHROMA_COST = 3  # detail of luma that is worth as much as the mean of a colour difference
_SIZE, _COUNT = 256, 8  # of the noise
_FALLOFF, _FALLOFF_OF_CHANGES = 1.2, 0.9  # of the amplitude with frequency
_DEVIATIONS = torch.tensor([0.4, 0.11, 0.11])  # of luma and colour differences, frames being -1 to 1
_ROWS = 100_000  # positions that a regression takes
_RIDGE = 1e-5  # of the mean square
_EXACT = 1e4  # weight of one exact position


class LinearCodec(NamedTuple):
    """An encoder's last step and a decoder.

    analysis: (latents, signals, 2, 2), from 2 x 2 of the coarsest signals before. deviations: of the latents.
    signals: what the decoder carries at 1/8, 1/4, 1/2 and the whole of the resolution. kernels: (out, in, 3, 3), to
    the signals of each scale from the latents, or from what the coarser signals say about the scale.
    """

    analysis: Tensor
    deviations: Tensor
    signals: list[list[Path]]
    kernels: list[Tensor]


def fit_codec(given: Sequence[Path], latents: int, room: Sequence[int]) -> LinearCodec:
    """The codec of at most `latents` components of the `given` signals at 1/4 of the resolution.

    room: how many signals the decoder can carry at 1/8, 1/4 and 1/2 of it.
    """
    draws = torch.Generator().manual_seed(0)
    scales = [torch.cat([noise(draws, _FALLOFF), _smooth()])]
    for _ in range(3):
        scales.append(split(scales[-1]))
    names = [_all_paths(halvings) for halvings in range(4)]
    before = scales[2][:, [names[2].index(path) for path in given]]
    analysis = _components(before[:_COUNT], given, latents)
    known = F.conv2d(before, analysis, stride=2)
    codec = LinearCodec(analysis, known[:_COUNT].std(dim=(0, 2, 3)), [], [])
    for halvings, limit, finer in zip((3, 2, 1, 0), (*room, 3), (*room[1:], 3, 0), strict=True):
        useful = set(lowest(names[halvings - 1], finer)) if halvings else {()}
        wanted = lowest([path for path in names[halvings] if path[:-1] in useful], limit)
        target = scales[halvings][:, [names[halvings].index(path) for path in wanted]]
        kernel = _regression(known, target, draws)
        codec.signals.append(wanted)
        codec.kernels.append(kernel)
        known = F.conv2d(known, kernel, padding=1)
        if halvings:
            known = merged(known, wanted)
    return codec


def fit_changes(quarter: Sequence[Path], half: Sequence[Path], bands: int) -> tuple[Tensor, Tensor]:
    """How changes of luma between frames go on to finer scales, as kernels (signals, 1, 3, 3).

    Known are the first `bands` bands of 8 x 8 pixels, as values of 4 x 4. Returns the kernel from these to the signals
    `quarter` of that scale, and from what it says of their means, each repeated 2 x 2, to the signals `half`.
    """
    draws = torch.Generator().manual_seed(1)
    scales = [noise(draws, _FALLOFF_OF_CHANGES)[:, :1]]
    for _ in range(3):
        scales.append(split(scales[-1]))
    known = merged(scales[3][:, :bands], [(0, 0, 0, band) for band in range(bands)])
    kernels = []
    for wanted, scale in ((quarter, scales[2]), (half, scales[1])):
        names = [path for path in _all_paths(len(wanted[0]) - 1) if not path[0]]
        kernel = torch.zeros(len(wanted), 1, 3, 3)
        luma = [index for index, path in enumerate(wanted) if not path[0]]
        kernel[luma] = _regression(known, scale[:, [names.index(wanted[index]) for index in luma]], draws)
        kernels.append(kernel)
        mean = wanted.index(names[0])
        known = F.conv2d(known, kernel[mean : mean + 1], padding=1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    return tuple(kernels)


def lowest(paths: Sequence[Path], count: int) -> list[Path]:
    """The bands of lowest frequency."""
    return sorted(paths, key=_cost)[:count]


def halved(paths: Sequence[Path]) -> list[Path]:
    """The bands after another halving."""
    return [(*path, band) for path, band in product(paths, range(4))]


def parents(paths: Sequence[Path]) -> list[Path]:
    """The bands that are made of some of `paths`, lowest frequencies first."""
    return lowest({path[:-1] for path in paths}, len(paths))


def split(x: Tensor) -> Tensor:
    """Haar analysis of (n, k, 2h, 2w): the bands (n, 4k, h, w) of every signal."""
    patches = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    return torch.einsum("bij,nkhiwj->nkbhw", BANDS / 4, patches).flatten(1, 2)


def merged(bands: Tensor, paths: Sequence[Path]) -> Tensor:
    """Haar synthesis of their parents (n, parents, 2h, 2w) from bands (n, paths, h, w)."""
    coarse = parents(paths)
    n, _, h, w = bands.shape
    result = bands.new_zeros(n, len(coarse), h, 2, w, 2)
    for channel, path in enumerate(paths):
        result[:, coarse.index(path[:-1])] += torch.einsum("ij,nhw->nhiwj", BANDS[path[-1]], bands[:, channel])
    return result.flatten(4, 5).flatten(2, 3)


def noise(draws: torch.Generator, falloff: float) -> Tensor:
    """Luma and colour differences (n, 3, h, w) of noise whose amplitude is the frequency to the power of -falloff."""
    white = torch.fft.fft2(torch.randn(_COUNT, 3, _SIZE, _SIZE, generator=draws))
    axis = torch.fft.fftfreq(_SIZE)
    frequency = torch.hypot(axis[:, None], axis[None])
    frequency[0, 0] = torch.inf
    planes = torch.fft.ifft2(white * frequency**-falloff).real
    return planes / planes.std() * _DEVIATIONS[:, None, None]


def _smooth() -> Tensor:
    """Each plane alone, (9, 3, h, w): one value, and a ramp in either direction."""
    ramp = torch.linspace(-1, 1, _SIZE).expand(_SIZE, _SIZE)
    shapes = torch.stack([torch.ones_like(ramp), ramp, ramp.T])
    return torch.einsum("shw,cd->scdhw", shapes, torch.eye(3)).flatten(0, 1)


def _cost(path: Path) -> tuple[float, Path]:
    squares = sum(4.0 ** (2 - i) * _DETAILS[band] for i, band in enumerate(path[1:]))  # finest level first
    return squares + (_CHROMA_COST if path[0] else 0), path


def _all_paths(halvings: int) -> list[Path]:
    paths: list[Path] = [(colour,) for colour in range(3)]
    for _ in range(halvings):
        paths = halved(paths)
    return paths


def _components(signals: Tensor, paths: Sequence[Path], count: int) -> Tensor:
    """Filters (count, signals, 2, 2) of the principal components of their bands, by the energy in pixels."""
    energy = COLOURS.square().sum(dim=1)
    weights = (energy / energy[0]).sqrt()[[path[0] for path in paths]].repeat_interleave(4)
    rows = split(signals).movedim(1, -1).flatten(0, 2).double() * weights
    vectors = torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)[:, :count]  # largest first
    vectors = vectors * vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)).sign()
    filters = (vectors * weights[:, None]).T.float().unflatten(1, (-1, 4))
    return torch.einsum("ckb,bij->ckij", filters, BANDS / 4)


def _regression(known: Tensor, target: Tensor, draws: torch.Generator) -> Tensor:
    """The 3 x 3 kernel (m, k, 3, 3), zeros around, that best makes `target` (n, m, h, w) of `known` (n, k, h, w).

    Of the pictures after the noise only the centre counts, and there the kernel is exact.
    """
    inputs = F.unfold(known, 3, padding=1).movedim(1, -1).double()
    outputs = target.flatten(2).movedim(1, -1).double()
    taken = torch.randperm(inputs[:_COUNT, :, 0].numel(), generator=draws)[:_ROWS]
    rows, wanted = inputs[:_COUNT].flatten(0, 1)[taken], outputs[:_COUNT].flatten(0, 1)[taken]
    square = rows.T @ rows
    square.diagonal().add_(_RIDGE * square.diagonal().mean())
    centre = target.shape[2] // 2 * (target.shape[3] + 1)
    exact, values = (_EXACT * each[_COUNT:, centre] for each in (inputs, outputs))
    solved = torch.linalg.solve(square + exact.T @ exact, rows.T @ wanted + exact.T @ values)
    return solved.T.float().unflatten(1, (-1, 3, 3))
