"""A clip that neighbours encode and decode together equals the whole one."""

import pytest

from tests.parallel.history import split_and_whole


@pytest.mark.parametrize(("world", "frames"), [(2, 5), (2, 17), (4, 13), (4, 29), (4, 5)])
def test_split_over_ranks_equals_whole(ranks, world, frames):
    assert max(max(found) for found in ranks(world)(split_and_whole, frames)) < 1e-12
