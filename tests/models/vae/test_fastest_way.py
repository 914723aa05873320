"""The way of a convolution is the one that was fastest in a test, and the test is made once."""

import pytest
import torch

from seedvr2.models.vae.inference import fastest
from seedvr2.models.vae.inference.fastest import fastest_way
from seedvr2.models.vae.inference.ways import WAYS, Kernel, usual_way

WEIGHT, BIAS = torch.randn(4, 4, 3, 3, 3), torch.randn(4)
SHAPE = torch.Size((6, 4, 10, 16))
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


def test_a_way_that_is_clearly_faster_is_taken(clock):
    clock[0][OTHER] = 0.5
    assert fastest_way({}, WEIGHT, BIAS, SHAPE) == OTHER


def test_the_usual_way_is_taken_if_no_other_is_clearly_faster(clock):
    clock[0][OTHER] = 0.99
    assert fastest_way({}, WEIGHT, BIAS, SHAPE) == USUAL


def test_a_way_that_fails_is_not_taken(clock):
    clock[0].update(dict.fromkeys(WAYS, 1e3) | {USUAL: None})
    assert fastest_way({}, WEIGHT, BIAS, SHAPE) != USUAL
    clock[0].update(dict.fromkeys(WAYS))  # the layer itself will say what the matter is
    assert fastest_way({}, WEIGHT, BIAS, SHAPE) == USUAL


def test_layers_of_a_kind_are_tested_once(clock):
    ways, (seconds, tested) = {}, clock
    seconds[OTHER] = 0.5
    fastest_way(ways, WEIGHT, BIAS, SHAPE)
    tested.clear()
    assert fastest_way(ways, WEIGHT + 1, BIAS, torch.Size((7, 4, 9, 15))) == OTHER
    assert tested == []
    fastest_way(ways, WEIGHT.to(torch.bfloat16), BIAS.to(torch.bfloat16), SHAPE)
    assert tested


def test_what_was_noted_is_taken_unless_there_is_no_such_way(clock):
    ways = {}
    clock[0][OTHER] = 0.5
    fastest_way(ways, WEIGHT, BIAS, SHAPE)
    (kind,) = ways
    assert fastest_way({kind: USUAL}, WEIGHT, BIAS, SHAPE) == USUAL
    assert fastest_way({kind: "of a later version"}, WEIGHT, BIAS, SHAPE) == OTHER


def test_a_convolution_with_one_way_is_not_tested(clock):
    flat = WEIGHT[:, :, :1]
    assert fastest_way({}, flat, BIAS, SHAPE) == "frames"
    assert clock[1] == []


def test_times_are_those_of_the_device_here():
    ways = {}
    assert fastest_way(ways, WEIGHT, BIAS, SHAPE) in WAYS
    assert ways
