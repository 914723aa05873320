"""Released names: exact key lists of the real sizes, strict loading, and the way there and back."""

import functools

import pytest
import torch

from seedvr2 import config
from seedvr2.errors import UserError
from seedvr2.models.discriminator import Discriminator
from seedvr2.models.released import (
    RELEASED,
    dit_from_released,
    from_released,
    load_released,
    to_released,
)

TOTALS = {"3b": 3_391_475_776, "7b": 8_239_607_872}


def build_from_golden_config(facts, family):
    return dit_from_released(facts(f"keys_{family}")["config"], None)


def build_from_table(facts, family):
    return dit_from_released(RELEASED[family], None)


def build_from_yaml(facts, family):
    settings = config.load("train", [f"model={family}", "run.dir=x"])
    return config.build(config.plain(settings.model), "model")()


@pytest.mark.parametrize("build", [build_from_golden_config, build_from_table, build_from_yaml])
@pytest.mark.parametrize("family", ["3b", "7b"])
def test_real_sizes_have_the_released_keys_shapes_and_parameters(facts, family, build):
    with torch.device("meta"):
        network = build(facts, family)
    shapes = {key: list(value.shape) for key, value in to_released(network).items()}
    assert shapes == facts(f"keys_{family}")["shapes"]
    assert sum(parameter.numel() for parameter in network.parameters()) == TOTALS[family]
    assert facts(f"keys_{family}")["num_parameters"] == TOTALS[family]


@pytest.mark.parametrize("family", ["3b", "7b"])
def test_real_sizes_load_on_the_meta_device(facts, family):
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in facts(f"keys_{family}")["shapes"].items()}
        network = dit_from_released(facts(f"keys_{family}")["config"], state)
    assert sum(parameter.numel() for parameter in network.parameters()) == TOTALS[family]


@pytest.fixture
def tiny(golden, facts):
    """Function family -> (config, state dict) of the golden generator, free to change."""

    def make(family: str = "3b"):
        state = {key[3:]: value for key, value in golden(f"dit_{family}_tiny").items() if key.startswith("sd.")}
        return facts("dit_tiny_configs")[family], state

    return make


@pytest.mark.parametrize("family", ["3b", "7b"])
def test_state_dict_survives_the_way_there_and_back(tiny, family):
    settings, state = tiny(family)
    network = dit_from_released(settings, state)
    released = to_released(network)
    assert released.keys() == state.keys()
    assert all(torch.allclose(released[key], state[key], rtol=1e-6, atol=0) for key in state)
    twin = dit_from_released(settings, None)
    load_released(twin, released)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True))


def test_one_window_and_one_block_type_may_stand_for_all_layers(tiny):
    settings, state = tiny()
    network = dit_from_released(settings | {"window": (2, 3, 1), "block_type": "mmdit_sr"}, state)
    assert network.trunk.window.keywords == {"windows": (2, 3, 1)}


@pytest.mark.parametrize(
    ("family", "changes"),
    [("7b", {"qk_rope": False}), ("7b", {"rope_dim": 64}), ("3b", {"window": [[4, 3, 3], [2, 3, 3]] * 2})],
)
def test_configs_that_would_give_another_network_are_refused(tiny, family, changes):
    settings, state = tiny(family)
    with pytest.raises(UserError, match=next(iter(changes))):
        dit_from_released(settings | changes, state)


def test_every_fault_of_a_state_dict_is_named_in_one_error(tiny):
    settings, state = tiny()
    del state["vid_in.proj.bias"]
    state["blocks.9.extra"] = torch.zeros(1)
    state["txt_in.weight"] = torch.zeros(2, 2)
    with pytest.raises(UserError) as caught:
        dit_from_released(settings, state)
    message = str(caught.value)
    assert "1 missing: vid_in.proj.bias" in message
    assert "1 unexpected: blocks.9.extra" in message
    assert "txt_in.weight (2, 2) instead of (128, 64)" in message


def test_a_file_of_another_family_gives_a_short_sentence(tiny):
    with pytest.raises(UserError) as caught:
        dit_from_released(tiny("7b")[0], tiny("3b")[1])
    assert len(str(caught.value)) < 2500


def test_frequencies_of_another_rule_are_refused_and_rounded_ones_are_not(tiny):
    settings, state = tiny()
    key = "blocks.2.attn.rope.rope.freqs"
    dit_from_released(settings, state | {key: state[key].bfloat16()})
    with pytest.raises(UserError, match=key):
        dit_from_released(settings, state | {key: state[key] * 2})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"vid_dims": 7}, "vid_dims"),
        ({"norm_eps": 1e-6}, "norm_eps=1e-06"),
        ({"patch_size": [2, 2, 2]}, r"patch_size=\[2, 2, 2\]"),
        ({"window": [[4, 3, 3], [1, 1, 1], [4, 3, 3], [4, 3, 3]]}, "window="),
        ({"window_method": ["720pwin_by_size_bysize"] * 4}, "window_method="),
        ({"mlp_type": "linear"}, "mlp_type='linear'"),
        ({"rope_type": "rope2d"}, "rope_type='rope2d'"),
        ({"block_type": ["mmdit"] * 4}, "block_type="),
        ({"shared_qkv": True}, "shared_qkv=True"),
        ({"vid_out_norm": "layer"}, "vid_out_norm='layer'"),
    ],
)
def test_config_faults_are_named(tiny, change, named):
    settings, state = tiny()
    with pytest.raises(UserError, match=named):
        dit_from_released(settings | change, state)


@pytest.mark.parametrize("key", ["heads", "vid_dim", "mlp_type", "window", "num_layers", "rope_dim"])
def test_missing_config_keys_are_named(tiny, key):
    settings, state = tiny()
    with pytest.raises(UserError, match=key):
        dit_from_released({name: value for name, value in settings.items() if name != key}, state)


def test_meta_networks_take_the_tensors_over(tiny):
    settings, state = tiny()
    with torch.device("meta"):
        network = dit_from_released(settings, None)
    load_released(network, state)
    assert network.vid_out.proj.weight.data_ptr() == state["vid_out.proj.weight"].data_ptr()


def test_discriminator_survives_the_way_there_and_back(make_trunk):
    networks = [Discriminator(trunk=functools.partial(make_trunk, family)) for family in ("3b", "3b")]
    state = to_released(networks[0])
    assert {"heads.2.query", "verdict.logit.weight", "blocks.0.attn.rope.rope.freqs"} <= state.keys()
    assert not any(key.startswith("trunk.") for key in state)
    networks[1].load_state_dict(from_released(networks[1], state))
    assert all(torch.equal(a, b) for a, b in zip(*(n.state_dict().values() for n in networks), strict=True))
