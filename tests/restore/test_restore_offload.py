import gc
import itertools
import weakref

import pytest
import torch

from seedvr2.restore import offload as module
from seedvr2.restore.offload import Shelf, place, shelf_bytes, streamed, streamed_bytes

CPU = torch.device("cpu")


def call(network, make_inputs):
    with torch.no_grad():
        return network(*make_inputs([(2, 8, 8)], [5]))


@pytest.mark.parametrize("resident", [0, 1, 2, 5])
def test_streamed_blocks_give_the_same_result_with_two_at_a_time(resident, make_generator, make_inputs):
    network = make_generator("7b", layers=5).eval().requires_grad_(False)
    expected = call(network, make_inputs)
    offload = place(network, network.trunk.blocks, CPU)
    offload.keep(resident)
    seen = []
    for block in network.trunk.blocks:
        block.register_forward_pre_hook(lambda *_: seen.append(offload.visiting))
    for _ in range(2):
        assert torch.equal(call(network, make_inputs), expected)
        assert offload.visiting == 0
    assert max(seen) == min(2, 5 - resident)


def test_blocks_that_wait_keep_none_of_their_weights_elsewhere(make_generator, make_inputs):
    network = make_generator("7b", layers=4).eval().requires_grad_(False)
    before = {name: x.data_ptr() for name, x in network.named_parameters()}
    offload = place(network, network.trunk.blocks, CPU)
    offload.keep(2)
    moved = [name for name, x in network.named_parameters() if x.data_ptr() != before[name]]
    assert {name.split(".")[2] for name in moved} == {str(i) for i in streamed(4, 2)}
    home = {name: x.data_ptr() for name, x in network.named_parameters()}
    call(network, make_inputs)
    assert {name: x.data_ptr() for name, x in network.named_parameters()} == home


def test_how_many_stay_may_change_between_calls(make_generator, make_inputs):
    network = make_generator("3b", layers=4).eval().requires_grad_(False)
    expected = call(network, make_inputs)
    offload = place(network, network.trunk.blocks, CPU)
    offload.keep(3)
    for resident in (0, 4, 1):
        offload.keep(resident)
        assert len(offload.streamed) == 4 - resident
        assert torch.equal(call(network, make_inputs), expected)


def test_a_call_that_fails_leaves_every_block_at_home(make_generator, make_inputs):
    network = make_generator("7b", layers=3).eval().requires_grad_(False)
    expected = call(network, make_inputs)
    offload = place(network, network.trunk.blocks, CPU)
    offload.keep(0)
    home = {name: x.data_ptr() for name, x in network.named_parameters()}

    def fail(*_):
        raise torch.OutOfMemoryError("no more")

    handle = network.trunk.blocks[1].mlp["vid"].register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError):
        call(network, make_inputs)
    handle.remove()
    assert {name: x.data_ptr() for name, x in network.named_parameters()} == home
    offload.keep(0)
    assert offload.visiting == 0
    assert torch.equal(call(network, make_inputs), expected)


def test_blocks_that_stay_lie_evenly_between_the_others():
    for blocks, resident in itertools.product((1, 7, 36), (0, 1, 5, 36)):
        away = streamed(blocks, resident)
        assert len(away) == max(0, blocks - resident)
        if away and resident:
            gaps = [b - a for a, b in itertools.pairwise(away)]
            assert not gaps or max(gaps) - min(gaps) <= 1


def test_bytes_of_what_is_streamed(make_generator):
    blocks = make_generator("7b", layers=4).trunk.blocks
    sizes = [sum(p.nbytes for p in block.parameters()) for block in blocks]
    away = streamed_bytes(blocks, 0)
    assert away[:2] == (sum(sizes), max(a + b for a, b in itertools.pairwise(sizes)))
    assert sum(sizes) < away.locked
    assert streamed_bytes(blocks, 4) == (0, 0, 0)


@pytest.mark.parametrize("piece", [4096, 1 << 28])
def test_tensors_on_a_shelf_are_themselves_in_few_pieces_of_the_foretold_size(piece, monkeypatch):
    monkeypatch.setattr(module, "PIECE", piece)
    shelf = Shelf(is_locked=False)
    kinds = (torch.float32, torch.bfloat16, torch.int8)
    tensors = [(torch.arange(size) % 100).to(kinds[size % 3]).view(1, -1) for size in (1, 7, 500, 3000, 64, 2048, 5)]
    homes = [shelf.put(x) for x in tensors]
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(tensors, homes, strict=True))
    pieces = {home.untyped_storage().data_ptr(): home.untyped_storage().nbytes() for home in homes}
    assert sum(pieces.values()) == shelf_bytes(tensors)
    assert all(size & (size - 1) == 0 for size in pieces.values())
    assert len(pieces) == 1 or piece == 4096


def test_where_no_more_memory_can_be_locked_the_shelf_goes_on_without(monkeypatch):
    empty = torch.empty

    def refusing(*arguments, pin_memory=False, **settings):
        if pin_memory:
            raise RuntimeError("CUDA error: out of memory")
        return empty(*arguments, **settings)

    monkeypatch.setattr(torch, "empty", refusing)
    x = torch.arange(5)
    assert torch.equal(Shelf(is_locked=True).put(x), x)


def test_memory_that_runs_out_on_the_way_leaves_a_network_that_works(make_generator, make_inputs, monkeypatch):
    network = make_generator("7b", layers=4).eval().requires_grad_(False)
    expected = call(network, make_inputs)
    offload = place(network, network.trunk.blocks, CPU)
    usual, left = Shelf.put, [30]

    def put(self, x):
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("CUDA error: out of memory")
        return usual(self, x)

    monkeypatch.setattr(Shelf, "put", put)
    with pytest.raises(RuntimeError, match="out of memory"):
        offload.keep(0)
    assert 0 < len(offload.streamed) < 4
    assert torch.equal(call(network, make_inputs), expected)
    monkeypatch.undo()
    offload.keep(0)
    assert torch.equal(call(network, make_inputs), expected)
    assert offload.visiting == 0


def test_nothing_of_a_network_stays_when_nobody_refers_to_it(make_generator):
    gc.disable()
    try:
        network = make_generator("7b", layers=2)
        offload = place(network, network.trunk.blocks, CPU)
        offload.keep(0)
        weight = weakref.ref(network.trunk.blocks[0])
        del network, offload
        assert weight() is None
    finally:
        gc.enable()
