"""A linear codec of pictures: what a VAE can do at best before it has learned anything but how pictures are made.

Signals are the bands of a Haar transform, 2 x 2 pixels at a time, of luma and two colour differences. Latents are the
principal components of the bands of 8 x 8 pixels that the encoder's widths can carry. The decoder predicts from each
latent and its 8 neighbours the bands that its own widths can carry, and again from what these say about each finer
scale, so that patches meet without steps. All of it is fitted in closed form to noise with the spectrum of photographs;
no picture is needed.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Path = tuple[int, ...]  # colour, then the band at each halving

# Sign patterns of the Haar bands on the 2 x 2 sub-positions (row, column).
BANDS = torch.tensor([[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]).float()
COLOURS = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-0.5, 1.0, -0.5]])  # luma, two colour differences
ENERGIES = COLOURS.square().sum(dim=1)  # of planes in pixels; rows of COLOURS divided by these give the analysis
_DETAILS = (0, 1, 1, 2)  # along how many axes a band varies
_CHROMA_COST = 3  # detail of luma that is worth as much as the mean of a colour difference
_SIZE, _COUNT = 256, 8  # of the noise
_FALLOFF, _FALLOFF_OF_CHANGES = 1.2, 0.9  # of the amplitude with frequency
_DEVIATIONS = torch.tensor([0.4, 0.11, 0.11])  # of luma and colour differences, frames being -1 to 1
_ROWS = 100_000  # positions that a regression takes
_RIDGE = 1e-5  # of the mean square
_EXACT = 1e4  # weight of one exact position
_ENOUGH = 5  # latents that hold the means of all planes and the slopes of luma


class LinearCodec(NamedTuple):
    """An encoder's last step and a decoder.

    analysis: (latents, signals, 2, 2), from 2 x 2 positions of the given signals at 1/4 of the resolution. deviations:
    of the latents. signals: what the decoder carries at 1/8, 1/4, 1/2 and the whole of the resolution. kernels: (out,
    in, 3, 3), to the signals of each scale from the latents, or from the `parents` that the coarser signals merge to.
    """

    analysis: Tensor
    deviations: Tensor
    signals: list[list[Path]]
    kernels: list[Tensor]


@cache
def fit_codec(given: tuple[Path, ...], latents: int, room: tuple[int, int, int]) -> LinearCodec:
    """The codec of at most `latents` components of the `given` signals at 1/4 of the resolution.

    room: how many signals the decoder can carry at 1/8, 1/4 and 1/2 of it. From 5 latents on ramps come back exactly.
    Calls of a process share their results, which must not be changed.
    """
    draws = torch.Generator().manual_seed(0)
    rough = pyramid(noise(draws, _FALLOFF))
    smooth = pyramid(_ramps() if latents >= _ENOUGH else _ramps()[:0])
    before = [select(scales[2], given) for scales in (rough, smooth)]
    analysis = _components(before[0], given, latents)
    known, exact = (F.conv2d(each, analysis, stride=2) for each in before)
    codec = LinearCodec(analysis, known.std(dim=(0, 2, 3)), carried(room), [])
    for halvings, wanted in zip((3, 2, 1, 0), codec.signals, strict=True):
        kernel = _regression(known, select(rough[halvings], wanted), draws, exact, select(smooth[halvings], wanted))
        codec.kernels.append(kernel)
        known, exact = (F.conv2d(each, kernel, padding=1) for each in (known, exact))
        if halvings:
            known, exact = merged(known, wanted), merged(exact, wanted)
    return codec


@cache
def fit_changes(quarter: tuple[Path, ...], half: tuple[Path, ...], bands: int) -> tuple[Tensor, Tensor]:
    """How changes of luma between frames go on to finer scales, as kernels (signals, 1, 3, 3).

    Known are the first `bands` bands of 8 x 8 pixels, as values of 4 x 4. Returns the kernel from these to the signals
    `quarter` of that scale, and from what it says of their means, each repeated 2 x 2, to the signals `half`.
    """
    draws = torch.Generator().manual_seed(1)
    scales = pyramid(noise(draws, _FALLOFF_OF_CHANGES))
    lumas = [(0, 0, 0, band) for band in range(bands)]
    known = merged(select(scales[3], lumas), lumas)
    kernels = []
    for wanted, scale in ((quarter, scales[2]), (half, scales[1])):
        kernel = torch.zeros(len(wanted), 1, 3, 3)
        luma = [index for index, path in enumerate(wanted) if not path[0]]
        kernel[luma] = _regression(known, select(scale, [wanted[index] for index in luma]), draws)
        kernels.append(kernel)
        mean = [index for index in luma if not any(wanted[index])]
        known = F.conv2d(known, kernel[mean], padding=1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    return tuple(kernels)


def carried(room: Sequence[int]) -> list[list[Path]]:
    """The bands of lowest frequency at 1/8, 1/4, 1/2 and the whole of the resolution, their parents in the next."""
    signals = [all_paths(0)]
    for limit in reversed(room):
        signals.insert(0, lowest(halved(signals[0]), limit))
    return signals


def all_paths(halvings: int) -> list[Path]:
    """All bands after some halvings, in the order of `split`."""
    paths: list[Path] = [(colour,) for colour in range(len(COLOURS))]
    for _ in range(halvings):
        paths = halved(paths)
    return paths


def select(bands: Tensor, paths: Sequence[Path]) -> Tensor:
    """Some of all bands of a scale (n, bands, h, w)."""
    order = {path: index for index, path in enumerate(all_paths(len(paths[0]) - 1))}
    return bands[:, [order[path] for path in paths]]


def lowest(paths: Iterable[Path], count: int) -> list[Path]:
    """The bands of lowest frequency."""
    return sorted(paths, key=_cost)[:count]


def halved(paths: Sequence[Path]) -> list[Path]:
    """The bands after another halving."""
    return [(*path, band) for path in paths for band in range(4)]


def parents(paths: Sequence[Path]) -> list[Path]:
    """The bands that are made of some of `paths`, lowest frequencies first."""
    return lowest({path[:-1] for path in paths}, len(paths))


def split(x: Tensor) -> Tensor:
    """Haar analysis of (n, k, 2h, 2w): the bands (n, 4k, h, w) of every signal."""
    patches = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    return torch.einsum("bij,nkhiwj->nkbhw", BANDS / 4, patches).flatten(1, 2)


def pyramid(planes: Tensor) -> list[Tensor]:
    """Planes and their bands after 1, 2 and 3 halvings."""
    scales = [planes]
    for _ in range(3):
        scales.append(split(scales[-1]))
    return scales


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


def _ramps() -> Tensor:
    """Each plane alone, (9, 3, h, w): one value, and a ramp in either direction."""
    ramp = torch.linspace(-1, 1, _SIZE).expand(_SIZE, _SIZE)
    shapes = torch.stack([torch.ones_like(ramp), ramp, ramp.T])
    return torch.einsum("shw,cd->scdhw", shapes, torch.eye(3)).flatten(0, 1)


def _cost(path: Path) -> tuple[float, Path]:
    squares = sum(4.0 ** (2 - i) * _DETAILS[band] for i, band in enumerate(path[1:]))  # finest level first
    return squares + (_CHROMA_COST if path[0] else 0), path


def _components(signals: Tensor, paths: Sequence[Path], count: int) -> Tensor:
    """Filters (count, signals, 2, 2) of the principal components of their bands, by the energy in pixels."""
    weights = (ENERGIES / ENERGIES[0]).sqrt()[[path[0] for path in paths]].repeat_interleave(4)
    rows = split(signals).movedim(1, -1).flatten(0, 2).double() * weights
    vectors = torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)[:, :count]  # largest first
    vectors = vectors * vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)).sign()
    filters = (vectors * weights[:, None]).T.float().unflatten(1, (-1, 4))
    return torch.einsum("ckb,bij->ckij", filters, BANDS / 4)


def _regression(
    known: Tensor, target: Tensor, draws: torch.Generator, exact: Tensor | None = None, values: Tensor | None = None
) -> Tensor:
    """The 3 x 3 kernel (m, k, 3, 3), zeros around, that best makes `target` (n, m, h, w) of `known` (n, k, h, w).

    In the centre of the pictures `exact` it gives their `values`; both (p, …, h, w), as large.
    """
    rows = F.unfold(known, 3, padding=1).movedim(1, -1).flatten(0, 1)
    wanted = target.flatten(2).movedim(1, -1).flatten(0, 1)
    taken = torch.randperm(len(rows), generator=draws)[:_ROWS]
    rows, wanted = rows[taken].double(), wanted[taken].double()
    square, product = rows.T @ rows, rows.T @ wanted
    square.diagonal().add_(_RIDGE * square.diagonal().mean())
    if exact is not None:
        row, column = (edge // 2 for edge in exact.shape[2:])
        inputs = _EXACT * exact[:, :, row - 1 : row + 2, column - 1 : column + 2].flatten(1).double()
        square += inputs.T @ inputs
        product += inputs.T @ (_EXACT * values[:, :, row, column].double())
    return torch.linalg.solve(square, product).T.float().unflatten(1, (-1, 3, 3))
