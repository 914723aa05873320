"""The study of windows: where their edges are, and whether they show in a picture."""

import sys
from pathlib import Path

import pytest
import torch

from seedvr2.models.windows import partition

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import window_artifacts


@pytest.mark.parametrize(("tokens", "window"), [(8, 3), (8, 4), (16, 3), (24, 4), (5, 7)])
def test_edges_are_where_windows_of_either_kind_of_layer_end(tokens, window):
    ends = {
        part[1].stop
        for shifted in (False, True)
        for part in partition((1, tokens, tokens), (1, window, window), shifted)
    }
    assert set(window_artifacts.edges(tokens, window)) == ends - {tokens}


def test_steps_on_window_edges_raise_the_ratio_and_other_steps_do_not():
    grain = torch.randn(128, 128, generator=torch.Generator().manual_seed(0)).double()
    plain = window_artifacts.ratios(window_artifacts.energies(grain, (3, 3)))
    assert plain == pytest.approx({"everywhere": 1, "tokens": 1}, abs=0.15)

    def stepped(borders):
        plane = grain.clone()
        for border in borders:
            plane[window_artifacts.TOKEN * border :] += 3
        return window_artifacts.ratios(window_artifacts.energies(plane, (3, 3)))

    edges = window_artifacts.edges(8, 3)
    others = [border for border in range(1, 8) if border not in edges]
    assert others
    assert min(stepped(edges).values()) > 2
    assert stepped(others)["tokens"] < 0.5
    assert stepped(range(1, 8))["tokens"] == pytest.approx(plain["tokens"], abs=0.4)


def test_without_edges_or_other_borders_there_is_no_ratio():
    plane = torch.randn(32, 32)
    assert window_artifacts.ratios(window_artifacts.energies(plane, (9, 9))) == {"everywhere": None, "tokens": None}
    assert window_artifacts.ratios(window_artifacts.energies(plane, (1, 1)))["tokens"] is None


def test_stills_are_judged_together_and_shown_side_by_side():
    def still(seed):
        generator = torch.Generator().manual_seed(seed)
        pictures = (torch.randn(3, 128, 128, generator=generator).clamp(-1, 1) for _ in range(4))
        return window_artifacts.Made(*pictures, (3, 3))

    stills = [still(0), still(1)]
    found = window_artifacts.judged(stills)
    assert set(found) == {"output", "difference", "control"}
    for values in found.values():
        assert values["everywhere"] == pytest.approx(1, abs=0.1)
        assert 0 < values["error"] < 0.2
    once = window_artifacts.judged(stills[:1])["output"]
    assert once["error"] is None
    assert window_artifacts.judged([stills[0]] * 3)["output"]["tokens"] == pytest.approx(once["tokens"])
    table = window_artifacts.text({"edges": {"fixed": {"2x": found}}, "windows": {"fixed": {"2x": [3, 3]}}})
    assert "fixed 2x, windows of 3x3 tokens" in table
    assert window_artifacts.picture({"adaptive": stills[0], "fixed": stills[1]}).shape == (256, 512, 3)
