"""Properties of batches: the same for any number of workers, ranks and restarts."""

import numpy as np
import pytest
import torch

from seedvr2.data.degradation.compression import VideoCodec
from seedvr2.data.degradation.noise import Noise
from seedvr2.data.degradation.pipeline import Degradation
from seedvr2.data.degradation.resize import TargetResize
from seedvr2.data.loader import Failures, batches
from seedvr2.data.pairs import Pairs
from seedvr2.data.procedural import ProceduralClips
from seedvr2.data.shapes import Shape
from seedvr2.errors import UserError


class Failing:
    """A source whose files are all broken."""

    failures = 0

    def clip(self, rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
        raise UserError("nothing can be read; check the folder")


class Passing:
    """A source that passes over a number of files for each clip."""

    def __init__(self, each: int):
        self.each, self.failures = each, 0

    def clip(self, rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
        self.failures += self.each
        return np.zeros((frames, height, width, 3), np.float32)


def make(source=None):
    operations = [Noise({"poisson": 1}), VideoCodec({"libx264": 1}), TargetResize()]
    shapes = [Shape(1, 16, 16, share=0.5, batch=4), Shape(5, 8, 16, share=0.5, batch=2)]
    return Pairs(source or ProceduralClips(), Degradation(operations), shapes)


def collect(start=0, stop=6, positions=range(2), workers=0, **options):
    drawn = batches(
        make(), seed=7, stage="base", start=start, stop=stop, positions=positions, workers=workers, **options
    )
    return dict(drawn)


def assert_equal(first, second):
    assert len(first) == len(second)
    for one, two in zip(first, second, strict=True):
        assert torch.equal(one.hq, two.hq)
        assert torch.equal(one.lq, two.lq)


def test_workers_do_not_change_the_batches():
    alone, shared = collect(), collect(workers=2)
    assert list(alone) == list(shared) == list(range(6))
    for step in alone:
        assert_equal(alone[step], shared[step])


def test_ranks_share_one_global_batch():
    whole = collect(positions=lambda shape: range(shape.batch))
    assert {len(batch) for batch in whole.values()} == {2, 4}
    halves = [collect(positions=lambda shape, rank=rank: range(rank, shape.batch, 2)) for rank in range(2)]
    for step, batch in whole.items():
        assert_equal(batch[0::2], halves[0][step])
        assert_equal(batch[1::2], halves[1][step])


def test_a_restart_continues_exactly():
    whole, rest = collect(), collect(start=4)
    assert list(rest) == [4, 5]
    for step in rest:
        assert_equal(whole[step], rest[step])


def test_clean_batches_are_the_clean_halves():
    pairs, clean = collect(stop=2), collect(stop=2, clean_only=True)
    for step in pairs:
        assert all(torch.equal(one.hq, two.hq) for one, two in zip(pairs[step], clean[step], strict=True))
        assert all(len(sample.lq) == 0 for sample in clean[step])


@pytest.mark.parametrize("workers", [0, 2])
def test_files_that_were_passed_over_are_counted_whoever_draws(workers):
    failures = Failures(1.0)
    settings = {"seed": 0, "stage": "x", "start": 0, "stop": 5, "positions": [0, 1], "clean_only": True}
    list(batches(make(Passing(2)), **settings, workers=workers, failures=failures))
    assert (failures.drawn, failures.count) == (10, 20)


def test_more_failures_than_allowed_stop_the_run_and_fewer_do_not():
    few, many = Failures(0.01), Failures(0.01)
    for sample in range(5000):
        few.add(sample % 101 == 100)
    assert few.count == 49
    for sample in range(500):
        many.add(sample % 50 == 0)
    with pytest.raises(UserError, match="11 files could not be read for 501 samples, more than 1%"):
        many.add(1)  # ten of the first thousand are borne


def test_a_limit_that_is_no_share_is_refused():
    with pytest.raises(UserError, match="failures is 3"):
        Failures(3)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_users_mistake_crosses_the_process_border(workers):
    drawn = batches(make(Failing()), seed=0, stage="x", start=0, stop=1, positions=[0], workers=workers)
    with pytest.raises(UserError) as caught:
        next(drawn)
    assert str(caught.value) == "nothing can be read; check the folder"
