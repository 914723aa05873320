"""Properties of chroma subsampling: brightness stays, colour loses the resolution that its name says."""

import numpy as np
import pytest

from seedvr2.data.degradation.chroma import REDUCTIONS, ChromaSubsampling
from seedvr2.data.degradation.draw import Draw
from seedvr2.errors import UserError

LUMA = np.array([0.299, 0.587, 0.114])
RED, BLUE = np.array([0.60, 0.40, 0.40]), np.array([0.40, 0.455, 0.622])  # brightness 0.46


def subsampled(clip, kind, *, shift=(0.0, 0.0)):
    draw = Draw(np.random.default_rng(0), (1, 1))
    return ChromaSubsampling(kinds={kind: 1}, shift=shift)(np.asarray(clip, np.float32), draw), draw.record[0]


def stripes(axis, width, side=32):
    """One frame of red and blue stripes of equal brightness; axis 0 stacks them, axis 1 puts them side by side."""
    is_red = (np.arange(side) // width % 2 == 0)[:, None, None]
    picture = np.broadcast_to(np.where(is_red, RED, BLUE), (side, side, 3))
    return (picture if axis == 0 else picture.transpose(1, 0, 2))[None]


@pytest.mark.parametrize("kind", REDUCTIONS)
@pytest.mark.parametrize("size", [(32, 48), (31, 45), (3, 5), (1, 1)])
def test_brightness_stays(kind, size):
    clip = np.random.default_rng(0).uniform(0.4, 0.6, (2, *size, 3))
    out, _ = subsampled(clip, kind)
    assert out.shape == clip.shape
    assert out.dtype == np.float32
    assert np.abs((out - clip) @ LUMA).max() < 1e-3


@pytest.mark.parametrize("kind", REDUCTIONS)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("width", [1, 2])
def test_colour_keeps_the_detail_that_the_kind_allows(kind, axis, width):
    clip = stripes(axis, width)
    middle = subsampled(clip, kind)[0][:, 8:-8, 8:-8]
    contrast = np.ptp(middle, axis=(0, 1, 2)).max() / np.ptp(clip)
    assert middle.mean(axis=(0, 1, 2)) == pytest.approx(clip.mean(axis=(0, 1, 2)), abs=0.003)
    # Stripes that fit into one sample become their mean; those of a sample each survive the bilinear enlargement.
    if 2 * width <= REDUCTIONS[kind][axis]:
        assert contrast < 0.02
    else:
        assert contrast > 0.4


def test_misplaced_samples_move_the_colour_and_not_the_brightness():
    clip = stripes(1, 8)
    still, _ = subsampled(clip, "4:2:2")
    moved, entry = subsampled(clip, "4:2:2", shift=(2, 2))
    assert (entry["down"], entry["right"]) == (2, 2)
    assert np.abs(moved[:, 2:, 2:] - still[:, :-2, :-2]).max() < 5e-3
    assert np.abs((moved - clip) @ LUMA).max() < 1e-3


def test_wrong_parameters_are_named():
    with pytest.raises(UserError, match="4:0:0"):
        ChromaSubsampling(kinds={"4:0:0": 1})
    with pytest.raises(UserError, match="shift"):
        ChromaSubsampling(shift=(1, -1))
