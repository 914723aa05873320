"""Model files from the internet: a recipe builds networks of ours, none larger than its file, and nothing else."""

import json
import time

import pytest
import torch
from safetensors.torch import save_file

from seedvr2.errors import UserError
from seedvr2.training.weights import load_network

GENERATOR, TRUNK = "seedvr2.models.dit.SwinMMDiT", "seedvr2.models.dit.Trunk"
ROPE = {"_target_": "seedvr2.models.rope.JointRope", "dim": 8}
SIZES = {"width": 64, "heads": 8, "head_dim": 8, "layers": 1, "separate_layers": 1, "text_dim": 8, "rope": ROPE}
COMMAND = {"command": "touch victim", "_partial_": True}


def recipe(**changes):
    return {"_target_": GENERATOR, "_partial_": True, "trunk": trunk(**changes)}


def trunk(**changes):
    return {"_target_": TRUNK, "_partial_": True, **SIZES, **changes}


def refusal(path, metadata):
    save_file({"a": torch.ones(1), "b": torch.ones(2)}, path, metadata={"seedvr2": metadata})
    start = time.perf_counter()
    with pytest.raises(UserError) as caught:
        load_network(path)
    assert time.perf_counter() - start < 10
    message = str(caught.value)
    assert "bad.safetensors" in message
    assert len(message) < 500
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "wrong",
    [
        {"_target_": "os.system", **COMMAND},
        {"_target_": "seedvr2.models.dit.torch.os.system", **COMMAND},
        {"_target_": "seedvr2.models.released.torch.load", "f": "victim"},
        {"_target_": "seedvr2.models.dit.torch.hub.load", "repo_or_dir": "x", "model": "y"},
        {"_target_": "seedvr2.models.dit.functools.partial", "func": "x"},
        {"_target_": "seedvr2.models.weight_files.read_state_dict", "path": "/etc/passwd"},
        {"_target_": "seedvr2.models.lora.adapted", "recipe": {"_target_": "os.system", **COMMAND}},
        {"_target_": f"{GENERATOR}.load_state_dict", "self": 1},
        {"_target_": f"{GENERATOR}.__subclasses__"},
        {"_target_": "seedvr2.models.dit.plan_layer.cache_clear"},
        {"_target_": "seedvr2.models.windows.adaptive_window.__globals__"},
        {"_target_": ["os.system"]},
        {"_target_": None},
        recipe(mlp={"_target_": "seedvr2.models.dit.torch.os.system", **COMMAND}),
        recipe(window=[{"_target_": "os.system", **COMMAND}]),
        recipe(rope={"_target_": "subprocess.run", "args": ["touch", "victim"]}),
        recipe(unknown=3),
    ],
)
def test_only_networks_and_their_parts_can_be_named(tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    refusal(tmp_path / "bad.safetensors", json.dumps({"recipe": wrong}))
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize(
    "huge",
    [
        recipe(width=10**9),
        recipe(layers=10**9),
        recipe(layers=3),  # more than the file has tensors
        recipe(heads=10**6, head_dim=10**6),
        recipe(width=float("nan")),
        recipe(width=-64),
        recipe(rope={**ROPE, "dim": 10**12}),
        recipe() | {"trunk": {key: value for key, value in trunk(width=10**6).items() if key != "_partial_"}},
        {"_target_": "seedvr2.models.prompts.Prompts", "tokens": 10**6, "dim": 10**6},
        {"_target_": "seedvr2.models.vae.autoencoder.VideoVAE", "channels": [2**20] * 4, "layers": 2},
        recipe(),  # a real network, of another file
    ],
)
def test_nothing_larger_than_the_file_is_built(tmp_path, huge):
    refusal(tmp_path / "bad.safetensors", json.dumps({"recipe": huge}))


@pytest.mark.parametrize(
    "metadata",
    ["{", "[1]", "[" * 100_000, "{}", *(json.dumps({"recipe": thing}) for thing in (None, 5, "x", [1], {}, ROPE))],
)
def test_recipes_that_are_none_are_refused(tmp_path, metadata):
    refusal(tmp_path / "bad.safetensors", metadata)


def test_deep_nesting_is_refused(tmp_path):
    depth = 50_000
    nested = f'{{"_target_": "{GENERATOR}", "_partial_": true, "trunk": ' * depth + "1" + "}" * depth
    refusal(tmp_path / "bad.safetensors", f'{{"recipe": {nested}}}')
