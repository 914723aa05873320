"""Split over ranks equals one process: outputs and all gradients of generator, discriminator and one through the other.

Ragged batches, token counts that ranks do not divide. The full grid is in scripts/prove_parallel.py.
"""

import pytest
import torch

from tests.parallel.equality import difference, halved

CASES = [
    (2, "3b", {"sequence": 2}),
    (2, "7b", {"sequence": 1}),
    (2, "7b", {"sequence": 2, "shard": 1}),
    (3, "3b", {"sequence": 3}),  # of 4 heads
    (4, "3b", {"sequence": 4, "recompute": "selective"}),
    (4, "7b", {"sequence": 2, "replicate": 2, "recompute": "full"}),
    (4, "3b", {"sequence": 2, "recompute": "selective"}),
    (4, "3b", {"sequence": 1, "replicate": 2}),
]


@pytest.mark.parametrize(
    ("world", "family", "settings", "dtype", "limit"),
    [
        *((*case, torch.float64, 1e-10) for case in CASES),
        *((*case, torch.float32, 1e-5) for case in (CASES[0], CASES[5])),
    ],
)
def test_ranks_equal_one_process(ranks, world, family, settings, dtype, limit):
    for found in ranks(world)(difference, family, settings, dtype):
        assert max(found.values()) <= limit, {name: value for name, value in found.items() if value > limit}


def test_half_precision_on_ranks_is_that_of_the_layers_alone(ranks):
    for differences, kinds in ranks(2)(halved, "3b", {"sequence": 2}):
        assert kinds == {"torch.float32"}
        assert all(1e-4 < value < 0.05 for value in differences.values()), differences
