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
FALLOFF, _FALLOFF_OF_CHANGES = 1.2, 0.9  # of the amplitude with frequency
_DEVIATIONS = torch.tensor([0.4, 0.11, 0.11])  # of luma and colour differences, frames being -1 to 1
_ROWS = 100_000  # positions that a regression takes
_RIDGE = 1e-5  # of the mean square
_EXACT = 1e4  # weight of one exact position
_ENOUGH = 5  # latents that hold the means of all planes and the slopes of luma


class LinearCodec(NamedTuple):
    """An encoder and a decoder of the planes of luma and two colour differences (n, 3, 8h, 8w).

    analysis: of the three halvings, (out, in, k, k), of which k - 2 rows and columns reach beyond the 2 x 2 positions
    that one value stands for. mixing: (latents, latents, j, j), from what they say to latents of unit deviation.
    signals: what the decoder carries at 1/8, 1/4, 1/2 and the whole of the resolution. kernels: (out, in, 3, 3), to the
    signals of each scale from the latents, or from the `parents` that the coarser signals merge to.
    """

    analysis: list[Tensor]
    mixing: Tensor
    signals: list[list[Path]]
    kernels: list[Tensor]

    def encode(self, planes: Tensor) -> Tensor:
        """Latents (n, latents, h, w) of planes (n, 3, 8h, 8w)."""
        return F.conv2d(halve(planes, self.analysis), self.mixing, padding="same")

    def decode(self, latents: Tensor) -> Tensor:
        """Planes (n, 3, 8h, 8w) of latents (n, latents, h, w)."""
        return self.finished(F.conv2d(latents, self.kernels[0], padding=1))

    def finished(self, carried: Tensor, halvings: int = 3) -> Tensor:
        """Planes of what the decoder carries at that scale."""
        for scale in range(3 - halvings, 3):
            carried = F.conv2d(merged(carried, self.signals[scale]), self.kernels[scale + 1], padding=1)
        return carried


@cache
def fit_codec(
    half: tuple[Path, ...], quarter: tuple[Path, ...], latents: int, room: tuple[int, int, int]
) -> LinearCodec:
    """The codec of at most `latents` components of the signals `quarter`, at 1/4 of the resolution, of signals `half`.

    room: how many signals the decoder can carry at 1/8, 1/4 and 1/2 of it. From 5 latents on ramps come back exactly.
    Calls of a process share their results, which must not be changed.
    """
    draws = torch.Generator().manual_seed(0)
    rough = pyramid(noise(draws, FALLOFF))
    smooth = pyramid(ramps(latents))
    components = _components(select(rough[2], quarter), quarter, latents)
    analysis = [haar(all_paths(0), half), haar(half, quarter), components]
    known, exact = (halve(scales[0], analysis) for scales in (rough, smooth))
    deviations = known.std(dim=(0, 2, 3))
    known, exact = (each / deviations[:, None, None] for each in (known, exact))
    mixing = (1 / deviations).diag()[:, :, None, None]
    codec = LinearCodec(analysis, mixing, carried(room), [])
    for halvings, wanted in zip((3, 2, 1, 0), codec.signals, strict=True):
        kernel = _regression(known, select(rough[halvings], wanted), draws, exact, select(smooth[halvings], wanted))
        codec.kernels.append(kernel)
        known, exact = (F.conv2d(each, kernel, padding=1) for each in (known, exact))
        if halvings:
            known, exact = merged(known, wanted), merged(exact, wanted)
    return codec


class Changes(NamedTuple):
    """How changes of luma between frames go on to finer scales.

    known, planes: changes (n, 1, 4h, 4w) as they are known (`fit_changes`) and (n, 3, 16h, 16w) as they are. mean:
    kernel (1, 1, 3, 3) from the former to their means over 4 x 4 pixels. quarter: (signals, 1, 3, 3), to the signals of
    that scale. half: (signals, 1, 3, 3), from what `mean` says, each value repeated 2 x 2, to those of that scale.
    """

    known: Tensor
    planes: Tensor
    mean: Tensor
    quarter: Tensor
    half: Tensor

    def known_at_half(self) -> Tensor:
        """What is known at the next scale (n, 1, 8h, 8w)."""
        return F.conv2d(self.known, self.mean, padding=1).repeat_interleave(2, 2).repeat_interleave(2, 3)


@cache
def fit_changes(quarter: tuple[Path, ...], half: tuple[Path, ...], bands: int) -> Changes:
    """Fit them to noise. Known are the first `bands` bands of 8 x 8 pixels, as values of 4 x 4.

    quarter, half: the signals that the decoder carries at these scales.
    """
    draws = torch.Generator().manual_seed(1)
    scales = pyramid(noise(draws, _FALLOFF_OF_CHANGES))
    lumas = [(0, 0, 0, band) for band in range(bands)]
    known = merged(select(scales[3], lumas), lumas)
    planes = scales[0] * torch.eye(3)[0][:, None, None]
    changes = Changes(known, planes, *[known.new_zeros(len(paths), 1, 3, 3) for paths in ([()], quarter, half)])
    changes.mean.copy_(_regression(known, select(scales[2], [(0, 0, 0)]), draws))
    for given, wanted, scale, kernel in (
        (known, quarter, scales[2], changes.quarter),
        (changes.known_at_half(), half, scales[1], changes.half),
    ):
        luma = [index for index, path in enumerate(wanted) if not path[0]]
        kernel[luma] = _regression(given, select(scale, [wanted[index] for index in luma]), draws)
    return changes


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


def haar(coarse: Sequence[Path], fine: Sequence[Path]) -> Tensor:
    """Haar analysis as a kernel (fine, coarse, 2, 2)."""
    kernel = torch.zeros(len(fine), len(coarse), 2, 2)
    for output, path in enumerate(fine):
        kernel[output, coarse.index(path[:-1])] = BANDS[path[-1]] / 4
    return kernel


def halve(x: Tensor, kernels: Sequence[Tensor]) -> Tensor:
    """Apply kernels (out, in, k, k) that halve the resolution one after the other, zeros below and on the right."""
    for kernel in kernels:
        beyond = kernel.shape[-1] - 2
        x = F.conv2d(F.pad(x, (0, beyond, 0, beyond)), kernel, stride=2)
    return x


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


def merging(paths: Sequence[Path]) -> Tensor:
    """Haar synthesis of their parents, (parents, 2, 2, paths): what every band adds at every sub-position."""
    coarse = parents(paths)
    matrix = torch.zeros(len(coarse), 2, 2, len(paths))
    for channel, path in enumerate(paths):
        matrix[coarse.index(path[:-1]), :, :, channel] = BANDS[path[-1]]
    return matrix


def merged(bands: Tensor, paths: Sequence[Path]) -> Tensor:
    """Haar synthesis of their parents (n, parents, 2h, 2w) from bands (n, paths, h, w)."""
    return F.pixel_shuffle(F.conv2d(bands, merging(paths).flatten(0, 2)[:, :, None, None]), 2)


def noise(draws: torch.Generator, falloff: float) -> Tensor:
    """Luma and colour differences (n, 3, h, w) of noise whose amplitude is the frequency to the power of -falloff."""
    white = torch.fft.fft2(torch.randn(_COUNT, 3, _SIZE, _SIZE, generator=draws))
    axis = torch.fft.fftfreq(_SIZE)
    frequency = torch.hypot(axis[:, None], axis[None])
    frequency[0, 0] = torch.inf
    planes = torch.fft.ifft2(white * frequency**-falloff).real
    return planes / planes.std() * _DEVIATIONS[:, None, None]


def ramps(latents: int) -> Tensor:
    """Each plane alone, (9, 3, h, w): one value, and a ramp in either direction; none for too few latents."""
    ramp = torch.linspace(-1, 1, _SIZE).expand(_SIZE, _SIZE)
    shapes = torch.stack([torch.ones_like(ramp), ramp, ramp.T])
    return torch.einsum("shw,cd->scdhw", shapes, torch.eye(3)).flatten(0, 1)[: None if latents >= _ENOUGH else 0]


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
