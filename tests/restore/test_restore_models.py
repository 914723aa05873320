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


def filled(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"weights")
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


@pytest.fixture
def run(tmp_path):
    """A finished run whose files are as old as those of a copy: all the same."""
    run = tmp_path / "run"
    filled(run / "vae" / "final", ["vae.safetensors"])
    for stage in ("base", "distill_4to2", "distill_2to1"):
        filled(run / stage / "final", ["generator.safetensors", "prompts.safetensors"])
    filled(run / "apt" / "final", ["generator.safetensors", "discriminator.safetensors"])
    return run


@pytest.mark.parametrize(
    ("path", "stage", "prompts", "steps"),
    [
        (".", "apt", "distill_2to1", 1),
        ("apt", "apt", "distill_2to1", 1),
        ("distill_4to2", "distill_4to2", "distill_4to2", 2),
        ("base/final", "base", "base", None),
    ],
)
def test_folders_of_stages_and_runs(run, monkeypatch, path, stage, prompts, steps):
    monkeypatch.chdir(run)
    for name in (path, str(run / path)):
        files = find_model(name, has_gpu=False)
        assert (files.name, files.steps) == (name, steps)
        assert files.generator == run / stage / "final" / "generator.safetensors"
        assert files.prompts.parent == run / prompts / "final"
        assert files.vae.parent == run / "vae" / "final"
        assert f"stage {stage}, {run / stage}" in files.origin


def test_the_current_folder_can_be_a_model(run, monkeypatch):
    monkeypatch.chdir(run / "base" / "final")
    assert find_model(".", has_gpu=False).vae.parent == run / "vae" / "final"


def test_an_unfinished_stage_leaves_the_one_before(run):
    (run / "apt" / "final").rename(run / "apt" / ".final.part")
    assert "stage distill_2to1" in find_model(str(run), has_gpu=False).origin


def test_a_folder_of_three_files_is_a_model(tmp_path):
    model = filled(tmp_path / "model", OWN_FILES)
    files = find_model(str(model), has_gpu=True)
    assert (files.vae, files.origin, files.steps) == (model / "vae.safetensors", f"from {model}", 1)


def test_a_stage_never_borrows_from_a_later_one(run):
    filled(run / "apt" / "final", OWN_FILES)
    files = find_model(str(run / "base"), has_gpu=False)
    assert files.prompts.parent == run / "base" / "final"
    assert files.vae.parent == run / "vae" / "final"


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


def exported(folder, *, facts):
    """Export small random networks; returns them."""
    settings = config.plain(config.load("train", ["+experiment=debug", "run.dir=unused"]))
    networks = {}
    for name, key in (("vae", "vae"), ("generator", "model"), ("prompts", "prompts")):
        recipe = config.build(settings[key], key)
        networks[name] = Exported(recipe(), recipe, facts if name == "vae" else {})
    export(networks, folder)
    return networks


def test_an_exported_model_loads_with_its_scale_and_prompt(tmp_path):
    networks = exported(tmp_path / "model", facts={"scale": 1.5})
    files = find_model(str(tmp_path / "model"), has_gpu=False)
    model = load_model(files, device=torch.device("cpu"), dtype=torch.float32, posterior="sample")
    assert (model.codec.scale, model.codec.posterior) == (1.5, "sample")
    assert torch.equal(model.prompt, networks["prompts"].network("positive"))
    for network, name in ((model.generator, "generator"), (model.codec.vae, "vae")):
        state = networks[name].network.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_an_autoencoder_without_a_scale_is_the_users_mistake(tmp_path):
    exported(tmp_path / "model", facts={})
    files = find_model(str(tmp_path / "model"), has_gpu=False)
    with pytest.raises(UserError, match="does not say the scale"):
        load_model(files, device=torch.device("cpu"), dtype=torch.float32, posterior="sample")


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
