"""Properties of random order."""

import numpy as np

from seedvr2.data.degradation.draw import Draw
from seedvr2.data.degradation.order import RandomOrder


class Append:
    def __init__(self, digit):
        self.digit = digit

    def __call__(self, clip, draw):
        return clip * 10 + self.digit


def test_groups_are_shuffled_but_keep_their_own_order():
    operation = RandomOrder([[Append(1)], [Append(2), Append(3)]])
    found = [int(operation(np.zeros(1), Draw(np.random.default_rng(seed), (1, 1)))[0]) for seed in range(200)]
    assert set(found) == {123, 231}
    assert 70 < found.count(123) < 130


def test_the_result_does_not_depend_on_earlier_calls():
    operation = RandomOrder([[Append(1)], [Append(2)], [Append(3)]])
    first = [operation(np.zeros(1), Draw(np.random.default_rng(seed), (1, 1)))[0] for seed in range(20)]
    again = [operation(np.zeros(1), Draw(np.random.default_rng(seed), (1, 1)))[0] for seed in reversed(range(20))]
    assert first == again[::-1]
