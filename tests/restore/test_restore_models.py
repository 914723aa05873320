import os

import huggingface_hub
import pytest
import torch

from seedvr2 import config
from seedvr2.errors import UserError
from seedvr2.objectives.objective import Exported
from seedvr2.restore import models
from seedvr2.restore.models import OWN_FILES, RELEASED_FILES, WEIGHTS_VARIABLE, find_model, load_model
from seedvr2.training.weights import export

SMALL_VAE = {"block_out_channels": [16] * 4, "layers_per_block": 1, "norm_num_groups": 8, "latent_channels": 16}


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch, tmp_path):
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repository, name: None)
    monkeypatch.setattr(models, "BUNDLED", filled(tmp_path / "bundled", OWN_FILES))


def filled(folder, names, *, age=0):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"weights")
    os.utime(folder, (1e9 - age, 1e9 - age))
    return folder


def test_without_released_weights_the_bundled_model_is_taken(tmp_path):
    for name, has_gpu in ((None, True), (None, False), ("tiny", True)):
        files = find_model(name, has_gpu=has_gpu)
        assert (files.name, files.released) == ("tiny", None)
        assert files.generator == tmp_path / "bundled" / "generator.safetensors"


def test_released_weights_are_taken_on_a_gpu_only(tmp_path, monkeypatch):
    filled(tmp_path / "weights", RELEASED_FILES["3b"])
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "weights"))
    assert find_model(None, has_gpu=False).name == "tiny"
    files = find_model(None, has_gpu=True)
    assert (files.name, files.released) == ("3b", "3b")
    assert files.generator == tmp_path / "weights" / "seedvr2_ema_3b.pth"
    assert find_model("3b", has_gpu=False) == files


def test_a_folder_of_repositories_serves_both_sizes(tmp_path, monkeypatch):
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    for size in ("3b", "7b"):
        folder = filled(tmp_path / f"SeedVR2-{size.upper()}", RELEASED_FILES[size])
        assert find_model(size, has_gpu=False).vae == folder / "ema_vae.pth"


def test_cached_weights_are_found(tmp_path, monkeypatch):
    folder = filled(tmp_path / "cache", RELEASED_FILES["7b"])
    repositories = {"ByteDance-Seed/SeedVR2-7B": folder}

    def cached(repository, name):
        return str(repositories[repository] / name) if repository in repositories else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    files = find_model(None, has_gpu=True)
    assert (files.name, files.origin, files.prompts) == ("7b", "from the Hugging Face cache", folder / "pos_emb.pt")


@pytest.mark.parametrize("missing", RELEASED_FILES["3b"])
def test_incomplete_released_weights_are_told_with_the_place_for_them(tmp_path, monkeypatch, missing):
    filled(tmp_path / "weights", set(RELEASED_FILES["3b"]) - {missing})
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "weights"))
    with pytest.raises(UserError, match=f"seedvr2_ema_3b.pth.*SeedVR2-3B.*{WEIGHTS_VARIABLE}"):
        find_model("3b", has_gpu=True)


def test_a_weights_variable_that_is_no_folder_is_the_users_mistake(monkeypatch):
    monkeypatch.setenv(WEIGHTS_VARIABLE, "/no/such/folder")
    with pytest.raises(UserError, match="/no/such/folder"):
        find_model(None, has_gpu=True)


def test_folders_of_models_stages_and_runs(tmp_path):
    run = tmp_path / "run"
    vae = filled(run / "vae" / "final", ["vae.safetensors"], age=30)
    base = filled(run / "base" / "final", ["generator.safetensors", "prompts.safetensors"], age=20)
    apt = filled(run / "apt" / "final", ["generator.safetensors", "discriminator.safetensors"], age=10)
    for path, generator in ((run, apt), (run / "apt", apt), (run / "base", base), (run / "base" / "final", base)):
        files = find_model(str(path), has_gpu=False)
        assert files.generator.parent == generator
        assert str(generator) in files.origin
        assert files.vae.parent == vae
        assert files.prompts.parent == base
    model = filled(tmp_path / "model", OWN_FILES)
    assert find_model(str(model), has_gpu=True).vae == model / "vae.safetensors"


def test_a_stage_never_borrows_from_a_later_one(tmp_path):
    run = tmp_path / "run"
    filled(run / "vae" / "final", ["vae.safetensors"], age=30)
    base = filled(run / "base" / "final", ["generator.safetensors", "prompts.safetensors"], age=20)
    filled(run / "apt" / "final", OWN_FILES, age=10)
    files = find_model(str(run / "base"), has_gpu=False)
    assert files.prompts.parent == base
    assert files.vae.parent.parent.name == "vae"


def test_folders_without_a_whole_model_are_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="no finished model"):
        find_model(str(filled(tmp_path / "empty", [])), has_gpu=False)
    with pytest.raises(UserError, match=r"no vae\.safetensors"):
        find_model(str(filled(tmp_path / "half", ["generator.safetensors"])), has_gpu=False)


def test_unknown_names_are_the_users_mistake(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no model huge; give tiny, 3b, 7b or"):
        find_model("huge", has_gpu=False)
    monkeypatch.setattr(models, "BUNDLED", tmp_path / "nowhere")
    with pytest.raises(UserError, match="bundled model is missing"):
        find_model("tiny", has_gpu=False)


def test_an_exported_model_loads_with_its_scale_and_prompt(tmp_path):
    settings = config.plain(config.load("train", ["+experiment=debug", "run.dir=unused"]))
    exported, facts = {}, {"vae": {"scale": 1.5}}
    for name, key in (("vae", "vae"), ("generator", "model"), ("prompts", "prompts")):
        recipe = config.build(settings[key], key)
        exported[name] = Exported(recipe(), recipe, facts.get(name, {}))
    export(exported, tmp_path / "model")
    files = find_model(str(tmp_path / "model"), has_gpu=False)
    model = load_model(files, device=torch.device("cpu"), dtype=torch.float32, posterior="sample")
    assert (model.codec.scale, model.codec.posterior) == (1.5, "sample")
    assert torch.equal(model.prompt, exported["prompts"].network("positive"))
    for network, name in ((model.generator, "generator"), (model.codec.vae, "vae")):
        state = exported[name].network.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_released_weights_load_as_they_were_saved(tmp_path, monkeypatch, facts, golden, golden_dit, codec, prompt):
    # Small networks stand for the released ones, which have the same kinds of keys.
    monkeypatch.setitem(models.RELEASED, "3b", facts("dit_tiny_configs")["3b"])
    monkeypatch.setitem(models.RELEASED, "vae", SMALL_VAE)
    generator = {key[3:]: value for key, value in golden("dit_3b_tiny").items() if key.startswith("sd.")}
    folder = tmp_path / "weights"
    folder.mkdir()
    for name, value in zip(RELEASED_FILES["3b"], (codec.vae.state_dict(), generator, prompt), strict=True):
        torch.save(value, folder / name)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(folder))
    files = find_model("3b", has_gpu=False)
    options = {"device": torch.device("cpu"), "dtype": torch.float32, "posterior": "mean"}
    model = load_model(files, **options)
    for network, original in ((model.generator, golden_dit("3b")), (model.codec.vae, codec.vae)):
        assert all(torch.equal(network.state_dict()[key], value) for key, value in original.state_dict().items())
    assert (model.codec.posterior, model.codec.scale) == ("mean", 0.9152)
    assert torch.equal(model.prompt, prompt)
    (folder / "pos_emb.pt").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"pos_emb\.pt cannot be read"):
        load_model(files, **options)
