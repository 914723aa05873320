import copy

import pytest
import torch
from torch import nn

from seedvr2.errors import UserError
from seedvr2.models.storage import StoredLinear, store


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(("kind", "step"), [("int8", 0.5 / 127), ("fp8", 0.5 / 8)])
def test_weights_are_off_by_half_a_step_of_their_channel_at_most(kind, step):
    layer = nn.Linear(64, 32)
    with torch.no_grad():
        layer.weight *= torch.logspace(-3, 3, 32)[:, None]  # channels of very different sizes
    stored = StoredLinear(layer, kind)
    most = layer.weight.abs().amax(dim=1, keepdim=True)
    scale = most if kind == "int8" else layer.weight.abs().clamp_min(most[:] * 2**-6 / 448)
    assert ((stored.weight - layer.weight).abs() <= 1.01 * step * scale).all()
    x = torch.randn(5, 64)
    assert torch.equal(stored(x), nn.functional.linear(x, stored.weight, layer.bias))


@pytest.mark.parametrize(("kind", "most"), [("int8", 0.02), ("fp8", 0.06)])
@pytest.mark.parametrize("family", ["3b", "7b"])
def test_a_generator_computes_nearly_the_same_from_a_quarter_of_the_bytes(kind, most, family, golden_dit, golden):
    network = copy.deepcopy(golden_dit(family))
    values = golden(f"dit_{family}_tiny")
    size = tuple(values["shape"].tolist()) if "shape" in values else (3, 8, 8)
    rows = torch.randn(size[0] * size[1] * size[2], 33, generator=torch.Generator().manual_seed(0))
    text = torch.randn(7, network.trunk.txt_in.in_features, generator=torch.Generator().manual_seed(1))
    arguments = rows, text, [size], [7], torch.tensor([1000.0])
    with torch.no_grad():
        expected = network(*arguments)
        whole = sum(x.nbytes for x in network.trunk.blocks.parameters())
        store(network, kind)
        blocks = network.trunk.blocks
        small = sum(x.nbytes for x in (*blocks.parameters(), *blocks.buffers()))
        assert small < 0.4 * whole
        assert 0 < relative(network(*arguments), expected) < most


def test_only_the_linear_layers_of_blocks_are_stored(make_generator):
    network = make_generator("3b")
    outside = {id(m) for m in network.modules()} - {id(m) for m in network.trunk.blocks.modules()}
    store(network, "int8")
    kept = [m for m in network.modules() if type(m) is nn.Linear]
    assert kept
    assert all(id(m) in outside for m in kept)
    assert any(isinstance(m, StoredLinear) for m in network.trunk.blocks.modules())


def test_full_storage_changes_nothing_and_others_are_refused(make_generator):
    network = make_generator("7b")
    before = [id(m) for m in network.modules()]
    assert [id(m) for m in store(network, "full").modules()] == before
    with pytest.raises(UserError, match="int4"):
        store(network, "int4")
