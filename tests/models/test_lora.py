"""LoRA: starts as the base, only adapters learn, merging changes nothing but the form."""

import functools

import pytest
import torch

from seedvr2.errors import UserError
from seedvr2.models.discriminator import Discriminator
from seedvr2.models.lora import (
    Lora,
    LoraLinear,
    adapted,
    add_lora,
    fingerprint,
    is_adapter,
    merge_lora,
    share_frozen,
)
from seedvr2.models.released import to_released

LORA = Lora(rank=3, alpha=6.0)


@pytest.fixture(params=["3b", "7b"])
def family(request):
    return request.param


def moved(network, seed=0):
    """Adapters away from their start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            if is_adapter(key):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return network


def adapters_of(network):
    return {key: value for key, value in to_released(network).items() if is_adapter(key)}


def settings(base, lora=LORA):
    return {"rank": lora.rank, "alpha": lora.alpha, "base": fingerprint(to_released(base))}


def test_it_starts_as_the_base_and_moving_an_adapter_changes_it(family, make_generator, make_inputs):
    base, inputs = make_generator(family), make_inputs([(2, 6, 8)], [3])
    network = add_lora(make_generator(family), LORA)
    assert torch.equal(network(*inputs), base(*inputs))
    assert (moved(network)(*inputs) - base(*inputs)).abs().max() > 1e-3


def test_own_weights_keep_their_names_and_values(family, make_generator):
    base, network = make_generator(family), add_lora(make_generator(family), LORA)
    state = network.state_dict()
    assert {key for key in state if not is_adapter(key)} == set(base.state_dict())
    assert all(torch.equal(value, state[key]) for key, value in base.state_dict().items())
    assert "blocks.0.attn.proj_qkv.vid.lora_a.weight" in to_released(network)


@pytest.mark.parametrize("strength", [1.0, 0.5, -1.0])
def test_a_merged_network_gives_the_outputs_of_an_adapted_one(family, make_generator, make_inputs, strength):
    network, merged = moved(add_lora(make_generator(family), LORA)), make_generator(family)
    merge_lora(merged, adapters_of(network), **settings(merged), strength=strength)
    for module in network.modules():
        if isinstance(module, LoraLinear):
            module.scale *= strength
    inputs = make_inputs([(2, 6, 8), (1, 4, 4)], [3, 2])
    torch.testing.assert_close(merged(*inputs), network(*inputs), atol=1e-5, rtol=1e-4)


def test_strength_zero_leaves_every_weight(family, make_generator):
    base, merged = make_generator(family), make_generator(family)
    merge_lora(merged, adapters_of(moved(add_lora(make_generator(family), LORA))), **settings(base), strength=0.0)
    assert all(torch.equal(a, b) for a, b in zip(base.parameters(), merged.parameters(), strict=True))


def test_only_adapters_get_gradients(family, make_generator, make_inputs):
    network = moved(add_lora(make_generator(family), LORA))
    network(*make_inputs([(2, 6, 8)], [3])).square().mean().backward()
    with_gradient = {key for key, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    unused = "trunk.blocks.2.attn.proj_out.txt", "trunk.blocks.2.mlp.txt"  # text of the last block is not needed
    wanted = {key for key in network.state_dict() if is_adapter(key) and not key.startswith(unused)}
    assert wanted
    assert with_gradient == wanted


def test_of_a_discriminator_heads_learn_whole(make_trunk):
    network = adapted(recipe=lambda: Discriminator(trunk=functools.partial(make_trunk, "3b")), lora=LORA)
    learning = {key for key, p in network.named_parameters() if p.requires_grad}
    assert all(is_adapter(key) for key in learning if key.startswith("trunk."))
    rest = {key for key in learning if not key.startswith("trunk.")}
    assert rest == {key for key in network.state_dict() if not key.startswith("trunk.")}
    assert not any(is_adapter(key) for key in rest)


def test_frozen_weights_can_lie_in_memory_once(make_generator, make_inputs):
    owner, other = (add_lora(make_generator("3b"), LORA) for _ in range(2))
    with torch.no_grad():
        other.vid_out.proj.weight.add_(1)
    inputs = make_inputs([(2, 6, 8)], [3])
    before = moved(other, 1)(*inputs)
    assert share_frozen(other, owner) == sum(not p.requires_grad for p in owner.parameters()) - 1
    pointers = {key: p.data_ptr() for key, p in owner.named_parameters()}
    same = {key for key, p in other.named_parameters() if p.data_ptr() == pointers[key]}
    assert same == {k for k, p in owner.named_parameters() if not p.requires_grad} - {"vid_out.proj.weight"}
    assert torch.equal(other(*inputs), before)


def test_targets_choose_layers(make_generator):
    network = add_lora(make_generator("3b"), Lora(rank=2, targets=["blocks.1.*qkv*", "vid_out.proj"]))
    found = {key.rsplit(".", 2)[0] for key in adapters_of(network)}
    assert found == {"blocks.1.attn.proj_qkv.all", "vid_out.proj"}


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda g: Lora(rank=0), "rank 0"),
        (lambda g: Lora(targets="blocks.*"), "must be a list"),
        (lambda g: Lora(targets=[]), "must be a list"),
        (lambda g: add_lora(g("3b"), Lora(targets=["block.*"])), r"'block\.\*' fits no linear layer of SwinMMDiT"),
    ],
)
def test_impossible_settings_are_named(make_generator, make, match):
    with pytest.raises(UserError, match=match):
        make(make_generator)


def test_adapters_of_another_network_are_refused_and_change_nothing(make_generator):
    adapters, base = adapters_of(moved(add_lora(make_generator("3b"), LORA))), make_generator("3b")
    key = next(iter(adapters))
    shapes = adapters | {key: torch.zeros(3, 7)}
    half = {name: value for name, value in adapters.items() if name != key}
    unknown = adapters | {f"blocks.9.attn.proj_out.vid.lora_{part}.weight": torch.zeros(3, 3) for part in "ab"}
    facts = settings(base)
    for wrong, given, match in (
        (shapes, facts, r"proj_qkv\.vid has \(32, 96\) channels, not \(7, 96\)"),
        (half, facts, "has only one of lora_a and lora_b"),
        (unknown, facts, "no linear layer blocks.9.attn.proj_out.vid"),
        (adapters, facts | {"rank": 4}, "has a rank of 3, not 4"),
        (adapters, facts | {"base": "0" * 16}, "other weights of the same size"),
        ({}, facts, "there are none"),
    ):
        target = make_generator("3b")
        with pytest.raises(UserError, match=match):
            merge_lora(target, wrong, **given)
        assert all(torch.equal(a, b) for a, b in zip(base.parameters(), target.parameters(), strict=True))


def test_the_fingerprint_tells_weights_apart_but_not_how_they_are_stored(make_generator):
    state = {key: value.bfloat16() for key, value in to_released(make_generator("3b", seed=1)).items()}
    mark = fingerprint(state)
    exact = to_released(make_generator("3b", seed=1))
    assert fingerprint(exact, rounded=True) == fingerprint(state, rounded=True) == mark != fingerprint(exact)
    assert fingerprint({key: value.float() for key, value in reversed(state.items())}) == mark
    assert fingerprint(to_released(make_generator("3b", seed=2))) != mark
    assert fingerprint(state | {"vid_out.proj.bias": state["vid_out.proj.bias"] + 1}) != mark
