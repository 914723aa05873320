"""Exported weight files, and which file a stage starts from."""

import functools
import json

import pytest
import torch
from safetensors.torch import save_file

from seedvr2 import config
from seedvr2.errors import UserError
from seedvr2.models.codec import RELEASED_SCALE
from seedvr2.models.prompts import Prompts
from seedvr2.objectives.objective import Exported
from seedvr2.parallel.mesh import Parallelism
from seedvr2.parallel.runtime import Runtime
from seedvr2.training.builder import ModelBuilder
from seedvr2.training.catalogue import Catalogue
from seedvr2.training.weights import export, latent_scale, load_network, read_metadata, read_weights, save_tensors

MODELS = "seedvr2.models"
RECIPE = {
    "_target_": f"{MODELS}.dit.SwinMMDiT",
    "_partial_": True,
    "output_norm": True,
    "trunk": {
        "_target_": f"{MODELS}.dit.Trunk",
        "_partial_": True,
        "width": 32,
        "heads": 2,
        "head_dim": 16,
        "layers": 3,
        "separate_layers": 1,
        "text_dim": 8,
        "rope": {"_target_": f"{MODELS}.rope.JointRope", "dim": 16},
        "mlp": {"_target_": f"{MODELS}.layers.SwiGLU", "_partial_": True, "expand": 2},
        "window": {"_target_": f"{MODELS}.windows.adaptive_window", "_partial_": True, "area": 16},
        "text_modulated_last": False,
    },
}


@pytest.fixture
def exported():
    """A generator with random weights, its recipe and a fact."""
    recipe = config.build(RECIPE)
    network = recipe()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return Exported(network, recipe, {"scale": 1.25})


def test_a_loaded_export_gives_the_same_outputs(exported, make_inputs, tmp_path):
    export({"generator": exported}, tmp_path / "final")
    loaded = load_network(tmp_path / "final" / "generator.safetensors")
    inputs = make_inputs([(2, 6, 8)], [3])
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), exported.network.parameters(), strict=True))
    torch.testing.assert_close(loaded(*inputs), exported.network(*inputs), atol=1e-6, rtol=1e-5)
    assert not loaded.training
    assert not any(parameter.is_meta for parameter in loaded.parameters())


def test_exported_bytes_are_reproducible(exported, tmp_path):
    paths = [tmp_path / name / "generator.safetensors" for name in ("a", "b")]
    for path in paths:
        export({"generator": exported}, path.parent)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_facts_and_recipe_are_in_the_file(exported, tmp_path):
    export({"generator": exported}, tmp_path)
    assert read_metadata(tmp_path / "generator.safetensors") == {"recipe": RECIPE, "scale": 1.25}


def test_files_without_a_recipe_or_with_damage_are_named(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "plain.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x00" * 4)
    for name in ("plain", "cut", "absent"):
        with pytest.raises(UserError, match=rf"{name}\.safetensors"):
            load_network(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("target", ["seedvr2.io.files.remove", "seedvr2.config.load", "os.system"])
def test_a_file_cannot_have_anything_but_models_built(tmp_path, target):
    victim = tmp_path / "victim"
    victim.touch()
    metadata = {"seedvr2": json.dumps({"recipe": {"_target_": target, "path": str(victim)}})}
    save_file({"a": torch.ones(1)}, tmp_path / "bad.safetensors", metadata=metadata)
    with pytest.raises(UserError, match=target):
        load_network(tmp_path / "bad.safetensors")
    assert victim.exists()


def test_an_export_that_fails_leaves_no_folder(exported, tmp_path):
    with pytest.raises(AttributeError):
        export({"generator": exported, "bad": Exported(torch.nn.Linear(1, 1), None)}, tmp_path / "final")
    assert list(tmp_path.iterdir()) == []


def test_released_prompts_are_read_and_the_null_prompt_is_zero(tmp_path):
    for name, tokens in (("pos", 5), ("neg", 6)):
        torch.save(torch.full((tokens, 4), float(tokens)).bfloat16(), tmp_path / f"{name}_emb.pt")
    recipe = functools.partial(Prompts, tokens=5, negative_tokens=6, dim=4, trainable=False)
    prompts = ModelBuilder(Runtime(Parallelism(), torch.device("cpu")), 0)("prompts", recipe, tmp_path / "pos_emb.pt")
    assert [prompts(kind).mean().item() for kind in ("positive", "negative", "null")] == [5, 6, 0]
    assert not any(table.requires_grad for table in prompts.parameters())
    (tmp_path / "neg_emb.pt").unlink()
    with pytest.raises(UserError, match=r"neg_emb\.pt"):
        read_weights(tmp_path / "pos_emb.pt")


def test_converted_files_stand_for_the_released_ones(tmp_path):
    for name in ("seedvr_ema_7b", "ema_vae", "pos_emb", "neg_emb"):
        save_file({"embedding": torch.ones(3, 4)}, tmp_path / f"{name}.safetensors")
    catalogue = Catalogue(tmp_path / "seedvr_ema_7b.safetensors")
    assert catalogue.find("prompts").name == "pos_emb.safetensors"
    assert {kind: len(table) for kind, table in read_weights(catalogue.find("prompts")).items()} == {
        "positive": 3,
        "negative": 3,
        "null": 3,
    }
    assert latent_scale(catalogue.find("vae")) == RELEASED_SCALE


def test_a_released_generator_brings_the_files_beside_it(tmp_path):
    for name in ("seedvr_ema_7b.pth", "ema_vae.pth", "pos_emb.pt"):
        (tmp_path / name).touch()
    catalogue = Catalogue(tmp_path / "seedvr_ema_7b.pth")
    assert {name: catalogue.find(name).name for name in ("generator", "vae", "prompts")} == {
        "generator": "seedvr_ema_7b.pth",
        "vae": "ema_vae.pth",
        "prompts": "pos_emb.pt",
    }
    with pytest.raises(UserError, match="genrator"):
        Catalogue({"genrator": "x"})


def test_a_catalogue_knows_the_newest_file_and_those_of_each_stage(tmp_path):
    catalogue = Catalogue()
    for stage, networks in (("vae", ["vae"]), ("base", ["generator", "prompts"]), ("distill", ["generator"])):
        folder = tmp_path / stage / "final"
        folder.mkdir(parents=True)
        for name in networks:
            (folder / f"{name}.safetensors").touch()
        catalogue.add_stage(stage, folder)
    assert catalogue.find("generator").parts[-3] == "distill"
    assert catalogue.find("base/generator").parts[-3] == "base"
    assert catalogue.find("missing", "prompts").parts[-3] == "base"
    assert catalogue.find("missing") is None
    assert catalogue.require("vae", purpose="x").parts[-3] == "vae"


def test_missing_weights_say_what_needs_them_and_where_they_come_from():
    with pytest.raises(UserError) as caught:
        Catalogue().require("base/generator", "initial/generator", purpose="distillation needs a multi-step generator")
    message = str(caught.value)
    assert message.startswith("distillation needs a multi-step generator")
    for part in ("'base/generator' or 'initial/generator'", "run a base stage", "run.weights", "seedvr_ema_3b.pth"):
        assert part in message


def test_initial_weights_are_a_file_a_folder_or_a_table(tmp_path):
    final = tmp_path / "run" / "base" / "final"
    final.mkdir(parents=True)
    (final / "generator.safetensors").touch()
    file = final / "generator.safetensors"
    for initial in (final, final.parent, str(file), {"generator": file, "vae": None}):
        catalogue = Catalogue(initial)
        assert catalogue.find("generator") == catalogue.find("initial/generator") == file
        assert catalogue.find("vae") is None


@pytest.mark.parametrize("initial", ["gone.safetensors", {"vae": "gone.safetensors"}])
def test_initial_weights_that_do_not_exist_are_named(initial):
    with pytest.raises(UserError, match=r"gone\.safetensors"):
        Catalogue(initial)


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        Catalogue(tmp_path)


def test_tensors_are_as_readable_as_other_files(tmp_path):
    (tmp_path / "plain").touch()
    save_tensors(tmp_path / "tensors", {"a": torch.zeros(2)})
    assert (tmp_path / "tensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
