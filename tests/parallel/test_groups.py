"""The groups of ranks: how long they wait, and how many there are."""

from datetime import timedelta

import pytest

from tests.parallel.groups import made, timeouts


@pytest.mark.parametrize(
    ("settings", "count"), [({"sequence": 2}, 3), ({"shard": 2}, 3), ({"shard": 2, "replicate": 2, "sequence": 4}, 4)]
)
def test_every_group_waits_longer_than_the_watch_and_not_much(ranks, settings, count):
    assert ranks(4)(timeouts, {**settings, "timeout": 40}) == [[timedelta(minutes=61)] * count] * 4


def test_more_stages_need_no_more_groups(ranks, tmp_path):
    assert ranks(2)(made, str(tmp_path / "few"), 1) == ranks(2)(made, str(tmp_path / "many"), 3) == [1, 1]
