"""DOVER's technical score, 0 to 100, as SeedVR2 reports it: the official score of one clip, amplified by 100.

The official program draws fragments without a seed; here they follow from the seed and the clip's name.
"""

import itertools
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seedvr2.evaluation.contract import DEFAULT, Clip, Facts, Settings, fingerprint, versions
from seedvr2.evaluation.dover_network import Technical
from seedvr2.evaluation.weights import find_weights, load_strictly, quiet, read_weights
from seedvr2.randomness import numpy_generator

WEIGHTS = "DOVER.pth"
SOURCE = "https://github.com/QualityAssessment/DOVER/releases"
VIEWS = 3  # stretches of the clip
FRAMES = 32  # per stretch, every second one
STRIDE = 2
CELLS = 7  # a side
PATCH = 32  # pixels a side, one per cell
SIDE = CELLS * PATCH

_MEAN = torch.tensor([123.675, 116.28, 103.53])
_SPREAD = torch.tensor([58.395, 57.12, 57.375])
_CENTRE, _WIDTH = 0.1107, 0.07355  # of raw technical scores over the official training set


class Fragments(NamedTuple):
    """Where to look: frame numbers (3, 32), and the corners of the patches (3, 7, 7, 2), row and column in pixels."""

    frames: np.ndarray
    corners: np.ndarray


class Dover:
    """Technical score of a clip; undefined for frames below 32 pixels a side. Keeps 96 pictures of 224 x 224."""

    def __init__(self, settings: Settings = DEFAULT):
        path = find_weights(WEIGHTS, settings, source=SOURCE)
        state = read_weights(path)
        ours = {name: value for name, value in state.items() if name.startswith("technical_")}
        with quiet():
            self.network = Technical().eval()
        load_strictly(self.network, ours, path)
        self.network.to(settings.device)
        self._device, self._seed = settings.device, settings.seed
        definition = (
            "DOVER, technical branch alone: 100 sigmoid((r - 0.1107) / 0.07355), not the overall score; three "
            "stretches of 32 frames with stride 2, 7x7 patches of 32 pixels, drawn from seed "
            f"{settings.seed} and the clip's name."
        )
        self.facts = Facts("dover", "higher", "", definition, versions("torch"), fingerprint(path))
        self._fragments: Fragments | None = None

    def start(self, clip: Clip) -> None:
        self._number = 0
        self._fragments = draw_fragments(clip, self._seed) if min(clip.height, clip.width) >= PATCH else None
        self._views = torch.zeros(VIEWS, FRAMES, SIDE, SIDE, 3, dtype=torch.uint8)

    def add(self, prediction: np.ndarray, gt: np.ndarray | None = None, lq: np.ndarray | None = None) -> None:
        if self._fragments is not None:
            wanted = np.argwhere(self._fragments.frames == self._number)
            picture = enlarged(torch.from_numpy(np.ascontiguousarray(prediction))) if len(wanted) else None
            for view, place in wanted:
                self._views[view, place] = splice(picture, self._fragments.corners[view])
        self._number += 1

    @torch.no_grad()
    def result(self) -> float | None:
        if self._fragments is None:
            return None
        last = int(self._fragments.frames.max())
        assert self._number > last, f"{self._number} frames were added, {last + 1} are needed"
        raw = [float(self.network(self._normalised(view))) for view in self._views]
        return float(100 / (1 + np.exp(-(np.mean(raw) - _CENTRE) / _WIDTH)))

    def _normalised(self, view: Tensor) -> Tensor:
        """uint8 (32, 224, 224, 3) -> float32 (1, 3, 32, 224, 224)."""
        pictures = (view.to(self._device).float() - _MEAN.to(self._device)) / _SPREAD.to(self._device)
        return pictures.permute(3, 0, 1, 2)[None]


def draw_fragments(clip: Clip, seed: int) -> Fragments:
    """Frames and patches of a clip.

    The clip is cut into three stretches; from each come 32 frames with stride 2, from a random start if it is longer
    than 64 frames; numbers past the end begin anew at frame 0. Each cell of a 7 x 7 grid gives one patch, at a random
    place that the 32 frames share. The grid is that of the clip's own size even if the frames are enlarged, as in the
    official sampler.
    """
    random = numpy_generator(seed, "dover", clip.name)
    length = clip.frames // VIEWS
    spare = length - FRAMES * STRIDE
    starts = np.arange(VIEWS) * length + (random.integers(0, spare, VIEWS) if spare > 0 else 0)
    frames = (starts[:, None] + np.arange(FRAMES) * STRIDE) % clip.frames
    corners = np.empty((VIEWS, CELLS, CELLS, 2), dtype=np.int64)
    for axis, side in enumerate((clip.height, clip.width)):
        cell = side // CELLS
        grid = np.minimum(np.arange(CELLS) * cell, side - PATCH)
        moves = random.integers(0, cell - PATCH, (VIEWS, CELLS, CELLS)) if cell > PATCH else 0
        corners[..., axis] = (grid[:, None] if axis == 0 else grid[None, :]) + moves
    return Fragments(frames, corners)


def enlarged(picture: Tensor) -> Tensor:
    """uint8 (H, W, 3), bilinearly enlarged until no side is below 224, rounded down as in the official sampler."""
    ratio = min(picture.shape[:2]) / SIDE
    if ratio >= 1:
        return picture
    unit = picture.permute(2, 0, 1)[None].float() / 255
    large = F.interpolate(unit, scale_factor=1 / ratio, mode="bilinear")
    return (large[0] * 255).to(torch.uint8).permute(1, 2, 0)


def splice(picture: Tensor, corners: np.ndarray) -> Tensor:
    """Patches (32 x 32) of a picture (H, W, 3) at corners (7, 7, 2), put together without gaps: (224, 224, 3)."""
    out = torch.empty(SIDE, SIDE, 3, dtype=picture.dtype)
    for row, column in itertools.product(range(CELLS), repeat=2):
        top, left = corners[row, column]
        patch = picture[top : top + PATCH, left : left + PATCH]
        out[row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] = patch
    return out
