"""Selective recompute repeats neither attention nor the exchanges around it; full recompute repeats both."""

import pytest

from tests.parallel.recompute import counted

ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"


@pytest.fixture(scope="module")
def counts(ranks):
    return {mode: ranks(2)(counted, mode)[0] for mode in ("none", "selective", "full")}


def test_selective_keeps_attention_and_exchanges(counts):
    kept, all_again, plain = (counts[mode]["backward"] for mode in ("selective", "full", "none"))
    forward = counts["none"]["forward"]
    assert forward["all_to_all_single"] > 0
    assert kept["all_to_all_single"] == plain["all_to_all_single"]
    assert all_again["all_to_all_single"] > plain["all_to_all_single"]
    assert forward[ATTENTION] > 0
    assert kept.get(ATTENTION, 0) == 0
    assert all_again[ATTENTION] == forward[ATTENTION]


def test_selective_runs_the_rest_of_a_block_again(counts):
    assert counts["selective"]["backward"]["gelu"] == counts["full"]["backward"]["gelu"] > 0
    assert counts["none"]["backward"].get("gelu", 0) == 0
