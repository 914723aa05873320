"""Networks from recipes: seeded by name, from files, and a discriminator from a generator's file."""

import functools

import pytest
import torch
from safetensors.torch import save_file

from seedvr2.errors import UserError
from seedvr2.models.discriminator import Discriminator
from seedvr2.models.released import to_released
from seedvr2.parallel.mesh import Parallelism
from seedvr2.parallel.runtime import Runtime
from seedvr2.training.builder import ModelBuilder

ALONE = Runtime(Parallelism(), torch.device("cpu"))


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_fresh_weights_depend_on_key_and_name_only():
    def recipe():
        return torch.nn.Linear(3, 3)

    build = ModelBuilder(ALONE, 0, "base")
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = build("generator", recipe)
    assert torch.equal(torch.rand(1), expected)
    assert same(first, ModelBuilder(ALONE, 0, "base")("generator", recipe))
    assert not same(first, build("critic", recipe))
    assert not same(first, ModelBuilder(ALONE, 1, "base")("generator", recipe))


def test_frozen_networks_are_in_eval_mode_without_gradients():
    network = ModelBuilder(ALONE)("teacher", lambda: torch.nn.Linear(3, 3), trainable=False)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_a_file_fills_a_network_of_its_own_kind(make_generator, make_trunk, tmp_path):
    source = make_generator(seed=3)
    save_file(to_released(source), tmp_path / "generator.safetensors")
    assert same(ModelBuilder(ALONE)("generator", make_generator, tmp_path / "generator.safetensors"), source)
    deeper = functools.partial(make_generator, layers=4)
    with pytest.raises(UserError, match="missing"):
        ModelBuilder(ALONE)("generator", deeper, tmp_path / "generator.safetensors")


@pytest.mark.parametrize("family", ["3b", "7b"])
def test_a_discriminator_takes_its_trunk_from_a_generator(make_generator, make_trunk, tmp_path, family):
    source = make_generator(family, seed=3)
    save_file({k: v.contiguous() for k, v in to_released(source).items()}, tmp_path / "generator.safetensors")
    recipe = functools.partial(Discriminator, trunk=functools.partial(make_trunk, family))
    network = ModelBuilder(ALONE, 0)("discriminator", recipe, tmp_path / "generator.safetensors")
    assert same(network.trunk, source.trunk)
    assert same(network.heads, ModelBuilder(ALONE, 0)("discriminator", recipe).heads)


def test_a_discriminator_takes_everything_from_a_discriminator(make_trunk, tmp_path):
    recipe = functools.partial(Discriminator, trunk=make_trunk)
    source = ModelBuilder(ALONE, 1)("discriminator", recipe)
    save_file(to_released(source), tmp_path / "discriminator.safetensors")
    assert same(ModelBuilder(ALONE, 2)("discriminator", recipe, tmp_path / "discriminator.safetensors"), source)
