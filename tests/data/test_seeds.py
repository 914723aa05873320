"""Properties of keyed generators."""

import numpy as np

from seedvr2.data.seeds import key_seed, numpy_generator


def test_seeds_are_stable_across_machines_and_versions():
    assert key_seed(0, "base", 7, 3) == 722064125335061070
    assert key_seed() != key_seed("")


def test_different_keys_give_different_seeds():
    keys = [(), ("",), ("a", "b"), ("ab",), ("a", 1), ("a", "1"), (1, "a"), (1, 2), (12,), (2, 1), (-1, 2)]
    assert len({key_seed(*key) for key in keys}) == len(keys)


def test_number_types_do_not_matter():
    assert key_seed(np.int64(5), "x") == key_seed(5, "x")


def test_generators_of_one_key_agree():
    assert np.array_equal(numpy_generator("a", 1).random(4), numpy_generator("a", 1).random(4))
