from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seedvr2.restore.color import adain_color_fix, low_frequencies, wavelet_color_fix

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


def test_frames_do_not_mix():
    pair = torch.cat([FIX["content"], FIX["style"]])
    both = wavelet_color_fix(pair, pair.flip(0))
    assert torch.allclose(both[:1], wavelet_color_fix(pair[:1], pair[1:]), atol=1e-6)


@pytest.mark.parametrize("side", [1, 2, 7])
def test_pictures_smaller_than_the_filter_work(side):
    frame = torch.full((1, 3, side, side), 0.5)
    assert torch.allclose(low_frequencies(frame), frame)
    assert torch.isfinite(adain_color_fix(frame, frame)).all()
