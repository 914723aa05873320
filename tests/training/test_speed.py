"""Speed: what is counted, what is left out, and shares of a stated peak."""

import time
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from seedvr2 import config, train
from seedvr2.training import speed as module
from seedvr2.training.plan.work import clip_flops
from seedvr2.training.speed import Speed, measured_peak
from seedvr2.training.stage import Stage

GRID = (2, 4, 4)
CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when told; returns the function that moves it."""
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def advance(seconds):
        now[0] += seconds

    return advance


def steps(clock, count, waiting=0.0):
    """Steps of two micro-batches with two clips of 2 x 3 x 4 tokens each."""
    for _ in range(count):
        clock(waiting)
        yield [[(2, 3, 4)] * 2] * 2


def test_speed_is_that_of_all_ranks_and_without_pauses(clock):
    speed = Speed(CPU, lambda batch: batch, flops=lambda grid: 1e12, peak=4.0, data=3, world=6, largest=lambda n: 2**30)
    for _ in speed.waits(steps(clock, 5, waiting=1.0)):
        clock(3.0)
        with speed.paused():
            clock(50.0)
    assert speed.read() == pytest.approx(
        {
            "speed/seconds_per_step": 4.0,
            "speed/clips_per_second": 3 * 4 / 4,
            "speed/tokens_per_second": 3 * 4 * 24 / 4,
            "speed/waiting_share": 0.25,
            "speed/mfu": 3 * 4 / 4 / (6 * 4),
            "memory/peak_gib": 1.0,
        }
    )


def test_a_reading_starts_anew(clock):
    speed = Speed(CPU, lambda batch: batch)
    for seconds in (1.0, 2.0):
        for _ in speed.waits(steps(clock, 2)):
            clock(seconds)
        assert speed.read()["speed/seconds_per_step"] == seconds
    assert speed.read() == {}


def test_without_tokens_or_a_peak_there_is_no_share_of_it(clock):
    speed = Speed(CPU, lambda batch: [()] * 4)
    for _ in speed.waits([["pixels"]]):
        clock(2.0)
    found = speed.read()
    assert found["speed/clips_per_second"] == 2.0
    assert not {"speed/tokens_per_second", "speed/mfu"} & found.keys()
    assert measured_peak(CPU) is None


def test_memory_is_that_of_this_process():
    block = torch.ones(2**28 // 4)
    speed = Speed(CPU, lambda batch: [()])
    for _ in speed.waits([[block]]):
        time.sleep(0.01)
    assert 0.25 < speed.read()["memory/peak_gib"] < 500


def test_flops_of_a_step_are_those_of_its_passes():
    stages = train.build(config.plain(config.load("train", ["+experiment=debug", "run.dir=unused"])))[1]
    vae, base, apt = (next(stage for stage in stages if stage.name == name) for name in ("vae", "base", "apt"))
    for grid in (GRID, (2 * GRID[0], *GRID[1:])):  # a backward pass costs two forward passes, that of attention 2.5
        assert clip_flops(base)(grid) == pytest.approx(3 * forward_flops(base, grid), rel=0.15)
    assert clip_flops(apt)(GRID) > 3 * clip_flops(base)(GRID)
    assert clip_flops(vae) is None
    assert clip_flops(Stage("own", dict, dict, 1)) is None


def forward_flops(stage, grid):
    """Matrix products of a generator's forward pass on one clip, counted while it runs."""
    network = stage.objective.keywords["generator"]()
    t, h, w = grid[0], 2 * grid[1], 2 * grid[2]
    inputs = torch.randn(t * h * w, 33), torch.randn(8, network.trunk.txt_in.in_features)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs, [(t, h, w)], [8], torch.ones(1))
    return counter.get_total_flops()
