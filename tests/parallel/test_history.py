"""A clip that neighbours encode and decode together equals the whole one."""

import functools

import pytest

from seedvr2.parallel.history import rounds
from tests.parallel.history import split_and_whole


@pytest.mark.parametrize(("world", "frames"), [(2, 5), (2, 17), (4, 13), (4, 29), (4, 5)])
def test_split_over_ranks_equals_whole(ranks, world, frames):
    assert max(max(found) for found in ranks(world)(split_and_whole, frames)) < 1e-12


@pytest.mark.parametrize(("world", "frames", "chunk"), [(2, 29, 1), (2, 25, 2), (4, 33, 1), (4, 17, 1)])
def test_rounds_of_chunks_equal_whole(ranks, world, frames, chunk):
    assert max(max(found) for found in ranks(world)(split_and_whole, frames, chunk)) < 1e-12


@pytest.mark.parametrize(("world", "frames", "chunk"), [(2, 5, None), (4, 13, None), (2, 25, 2), (4, 33, 1)])
def test_the_inference_path_split_over_ranks_equals_whole(ranks, world, frames, chunk):
    split = functools.partial(split_and_whole, fast=True)
    assert max(max(found) for found in ranks(world)(split, frames, chunk)) < 1e-12


@pytest.mark.parametrize(("latents", "peers", "chunk"), [(26, 4, 2), (26, 4, None), (5, 4, 1), (9, 2, 1), (7, 3, 5)])
def test_rounds_give_every_peer_a_part_and_cover_the_clip_in_order(latents, peers, chunk):
    parts = [part for one in rounds(latents, peers, chunk) for part in one]
    assert [i for part in parts for i in part] == list(range(latents))
    assert all(len(one) == peers for one in rounds(latents, peers, chunk))
    assert min(map(len, parts)) >= 1


def test_a_chunk_bounds_each_part():
    assert max(len(part) for one in rounds(26, 4, 2) for part in one) == 2
