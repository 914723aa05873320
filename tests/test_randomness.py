"""Draws are functions of their key."""

import pytest
import torch

from seedvr2.randomness import Draws, numpy_generator, seed_of, torch_generator


def test_seeds_are_the_same_in_every_process():
    assert seed_of(3, "base", 7, "noise") == 2028078021527302833
    assert all(0 <= seed_of(i) < 2**63 for i in range(100))


def test_keys_differ_in_every_part_and_type():
    keys = [(1,), ("1",), (1, 1), (11,), ("a", "b"), ("ab",), ("a, b",), ()]
    assert len({seed_of(*key) for key in keys}) == len(keys)


def test_numpy_integers_are_keys_like_others():
    torch_int, numpy_int = int(torch.tensor(3)), numpy_generator(0).integers(3, 4)
    assert seed_of("a", numpy_int) == seed_of("a", torch_int)


def test_purposes_have_streams_of_their_own():
    draws, like = Draws("run", 4), torch.zeros(2, 3)
    assert torch.equal(draws.normal("noise", like), Draws("run", 4).normal("noise", like))
    assert not torch.equal(draws.normal("noise", like), draws.normal("other", like))
    assert draws.uniform("t") == Draws("run", 4).uniform("t") != draws.uniform("u")
    assert draws.normal("noise", like.to(torch.bfloat16)).dtype == torch.bfloat16


def test_draws_do_not_touch_the_global_generator():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    Draws("a").normal("b", torch.zeros(9))
    torch_generator("a")
    assert torch.equal(torch.rand(1), expected)


def test_draws_are_standard():
    values = Draws("a").normal("b", torch.zeros(20000))
    assert values.mean().item() == pytest.approx(0, abs=0.03)
    assert values.std().item() == pytest.approx(1, abs=0.03)
    assert all(0 <= Draws("a", i).uniform("b") < 1 for i in range(50))
