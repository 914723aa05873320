"""A checkpoint of four ranks loads on four, two and one: tensors are equal and training goes on."""

import pytest
import torch

from tests.parallel.saving import load_and_go_on, save_without_room, train_and_save

SETTINGS = {"sequence": 2}


@pytest.fixture(scope="module")
def saved(ranks, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("saved"))
    return folder, *ranks(4)(train_and_save, folder, SETTINGS)[0]


def same(a: dict, b: dict) -> bool:
    equal = [torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k] for k in a]
    return a.keys() == b.keys() and all(equal)


def test_as_many_ranks_go_on_bit_for_bit(ranks, saved):
    folder, state, after = saved
    for found, losses in ranks(4)(load_and_go_on, folder, SETTINGS):
        assert same(found, state)
        assert losses == after


def test_two_ranks_hold_the_same_tensors(ranks, saved):
    folder, state, after = saved
    for found, losses in ranks(2)(load_and_go_on, folder, SETTINGS):
        assert same(found, state)
        assert losses == pytest.approx(after, rel=1e-5)


def test_a_single_process_holds_the_same_tensors(saved):
    folder, state, after = saved
    found, losses = load_and_go_on(folder, {})
    assert same(found, state)
    assert losses == pytest.approx(after, rel=1e-5)
    assert len([key for key in found if "optimizer" in key]) > 50


@pytest.mark.parametrize("poor", [0, 1])
def test_a_rank_without_room_stops_all_ranks_with_the_same_sentence(ranks, tmp_path, poor):
    for sentence, steps in ranks(2)(save_without_room, str(tmp_path), poor):
        assert "step 2 could not be written" in sentence
        assert "File too large" in sentence
        assert steps == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]
