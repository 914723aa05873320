"""The way of a convolution is the one that was fastest in a test, and the test is made once."""

import pytest
import torch

from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.inference import InferenceVAE, fastest
from seedvr2.models.vae.inference.fastest import fastest_way
from seedvr2.models.vae.inference.ways import WAYS, Kernel, usual_way

WEIGHT, BIAS = torch.randn(4, 4, 3, 3, 3), torch.randn(4)
KERNEL, WINDOW = Kernel(WEIGHT, BIAS), torch.randn(6, 4, 10, 16)
USUAL = usual_way(WEIGHT)
OTHER = next(way for way in WAYS if way != USUAL)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that each way takes, to be set (None: it fails), and the ways that were tested."""
    seconds, tested, now = dict.fromkeys(WAYS, 1.0), [], [0.0]

    def convolve(kernel, window):
        tested.append(kernel.way)
        if seconds[kernel.way] is None:
            raise RuntimeError("no engine for this")
        now[0] += seconds[kernel.way]
        return iter(())

    monkeypatch.setattr(Kernel, "__call__", convolve)
    monkeypatch.setattr(fastest.time, "perf_counter", lambda: now[0])
    return seconds, tested


class Noted(dict):
    """Ways, and which of them may be noted for longer."""

    def __init__(self):
        self.longer = {}

    def setdefault(self, kind, way):
        self[kind] = self.longer[kind] = way


def test_a_way_that_is_clearly_faster_is_taken_and_noted(clock):
    clock[0][OTHER], ways = 0.5, Noted()
    assert fastest_way(ways, KERNEL, WINDOW) == OTHER
    assert list(ways.longer.values()) == [OTHER]


def test_the_usual_way_is_taken_if_no_other_is_clearly_faster(clock):
    clock[0][OTHER] = 0.99
    assert fastest_way({}, KERNEL, WINDOW) == USUAL


def test_what_was_found_while_a_way_failed_is_not_noted_for_longer(clock):
    ways = Noted()
    clock[0].update(dict.fromkeys(WAYS, 1e3) | {USUAL: None})
    assert fastest_way(ways, KERNEL, WINDOW) != USUAL
    assert ways
    assert ways.longer == {}
    clock[0].update(dict.fromkeys(WAYS))  # the layer itself will say what the matter is
    assert fastest_way({}, KERNEL, WINDOW) == USUAL


def test_layers_of_a_kind_are_tested_once(clock):
    ways, (seconds, tested) = {}, clock
    seconds[OTHER] = 0.5
    fastest_way(ways, KERNEL, WINDOW)
    tested.clear()
    assert fastest_way(ways, Kernel(WEIGHT + 1, BIAS), torch.randn(7, 4, 9, 15)) == OTHER
    assert tested == []
    for other, window in {
        Kernel(WEIGHT.to(torch.bfloat16), BIAS): WINDOW,
        Kernel(WEIGHT, BIAS, pad=0): WINDOW,
        KERNEL: torch.randn(6, 4, 100, 16),
    }.items():
        tested.clear()
        fastest_way(ways, other, window)
        assert tested


def test_what_was_noted_is_taken_unless_there_is_no_such_way(clock):
    ways = {}
    clock[0][OTHER] = 0.5
    fastest_way(ways, KERNEL, WINDOW)
    (kind,) = ways
    assert fastest_way({kind: OTHER}, KERNEL, WINDOW) == OTHER
    assert fastest_way({kind: "of a later version"}, KERNEL, WINDOW) == USUAL


def test_a_convolution_with_one_way_is_not_tested(clock):
    ways = {}
    assert fastest_way(ways, Kernel(WEIGHT[:, :, :1], BIAS), WINDOW) == "frames"
    assert clock[1] == []
    assert ways == {}


def test_a_picture_tests_no_way_that_it_does_not_use():
    ways, vae = {}, VideoVAE([8, 8, 8, 8], 1, groups=4).eval()
    fast = InferenceVAE(vae, ways=ways)
    fast.decode(fast.encode(torch.rand(1, 3, 1, 16, 16)).mean)
    assert ways == {}
    fast.encode(torch.rand(1, 3, 5, 16, 16))
    assert ways


def test_half_precision_adds_no_frames_up():
    assert Kernel(WEIGHT.half(), BIAS.half(), way="pairs").way == "frames"
