from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seedvr2.restore.color import adain_color_fix, grey_color_fix, low_frequencies, wavelet_color_fix

FIX = load_file(Path(__file__).parents[1] / "assets" / "color_fix.safetensors")


@pytest.mark.parametrize(("fix", "name"), [(wavelet_color_fix, "wavelet"), (adain_color_fix, "adain")])
def test_color_fixes_match_the_released_values(fix, name):
    assert (fix(FIX["content"], FIX["style"]) - FIX[name]).abs().max() <= 2e-6


@pytest.mark.parametrize("fix", [wavelet_color_fix, adain_color_fix])
def test_a_picture_in_its_own_colors_stays(fix):
    assert (fix(FIX["style"], FIX["style"]) - FIX["style"]).abs().max() <= 2e-6


@pytest.mark.parametrize("fix", [wavelet_color_fix, adain_color_fix])
def test_a_color_cast_is_removed(fix):
    cast = torch.tensor([0.2, -0.1, 0.3]).view(1, 3, 1, 1)
    assert (fix(FIX["style"] + cast, FIX["style"]) - FIX["style"]).abs().max() <= 2e-6


def test_frames_are_grey_where_their_input_is_and_only_there():
    made = FIX["content"].expand(3, -1, -1, -1)
    grey = FIX["style"].mean(dim=1, keepdim=True).expand_as(FIX["style"])
    noisy = grey + torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1) / 255  # a step of 8 bits
    spot = grey.clone()
    spot[..., 0, 0, 0] += 0.1
    fixed = grey_color_fix(made, torch.cat([grey, noisy, spot]))
    assert (fixed[:2] == fixed[:2, :1]).all()
    assert torch.equal(fixed[2], made[2])
    # the luma stays, as a film in BT.709 holds it
    assert torch.allclose(fixed[0, 0], 0.2126 * made[0, 0] + 0.7152 * made[0, 1] + 0.0722 * made[0, 2], atol=1e-6)


def test_frames_do_not_mix():
    pair = torch.cat([FIX["content"], FIX["style"]])
    both = wavelet_color_fix(pair, pair.flip(0))
    assert torch.allclose(both[:1], wavelet_color_fix(pair[:1], pair[1:]), atol=1e-6)


@pytest.mark.parametrize("side", [1, 2, 7])
def test_pictures_smaller_than_the_filter_work(side):
    frame = torch.full((1, 3, side, side), 0.5)
    assert torch.allclose(low_frequencies(frame), frame)
    assert torch.isfinite(adain_color_fix(frame, frame)).all()
