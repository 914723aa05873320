"""The groups of ranks: how long they wait."""

from datetime import timedelta

import pytest

from tests.parallel.groups import timeouts


@pytest.mark.parametrize(
    ("settings", "count"), [({"sequence": 2}, 2), ({"shard": 2}, 2), ({"shard": 2, "replicate": 2, "sequence": 4}, 3)]
)
def test_every_group_waits_longer_than_the_watch_and_not_much(ranks, settings, count):
    assert ranks(4)(timeouts, {**settings, "timeout": 40}) == [[timedelta(minutes=61)] * count] * 4
