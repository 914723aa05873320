"""From files to networks: what fits loads as it was saved, what does not is named in one short sentence."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from seedvr2 import config
from seedvr2.errors import UserError
from seedvr2.models.released import RELEASED
from seedvr2.objectives.objective import Exported
from seedvr2.restore.events import Events
from seedvr2.restore.loading import Choice, load_choice, with_fidelity
from seedvr2.restore.models import load_model
from seedvr2.restore.search import WEIGHTS_VARIABLE, find_model
from seedvr2.restore.table import VARIABLE
from seedvr2.training.weights import export

SMALL_VAE = {"block_out_channels": [16] * 4, "layers_per_block": 1, "norm_num_groups": 8, "latent_channels": 16}
MAPS = Path("/proc/self/maps")
CPU = {"device": torch.device("cpu"), "dtype": torch.float32, "posterior": "mean"}


@pytest.fixture(autouse=True)
def _no_table_of_the_user(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


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
    model = load_model(files, **CPU)
    assert (model.codec.scale, model.codec.posterior) == (1.5, "mean")
    assert torch.equal(model.prompt, networks["prompts"].network("positive"))
    assert torch.equal(model.negative, networks["prompts"].network("negative"))
    for network, name in ((model.generator, "generator"), (model.codec.vae, "vae")):
        state = networks[name].network.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_an_autoencoder_without_a_scale_is_the_users_mistake(tmp_path):
    exported(tmp_path / "model", facts={})
    files = find_model(str(tmp_path / "model"), has_gpu=False)
    with pytest.raises(UserError, match="does not say the scale"):
        load_model(files, **CPU)


def test_the_networks_of_a_folder_must_be_what_their_names_say(tmp_path):
    exported(tmp_path / "model", facts={"scale": 1.5})
    (tmp_path / "model" / "generator.safetensors").write_bytes((tmp_path / "model" / "vae.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"generator\.safetensors holds a VideoVAE instead of a SwinMMDiT"):
        load_model(find_model(str(tmp_path / "model"), has_gpu=False), **CPU)


@pytest.fixture
def weights(tmp_path, monkeypatch, facts, golden, codec):
    """A folder of the files of all released models, whose small networks have the same kinds of keys."""
    for family in ("3b", "7b"):
        monkeypatch.setitem(RELEASED, family, facts("dit_tiny_configs")[family])
    monkeypatch.setitem(RELEASED, "vae", SMALL_VAE)
    folder = tmp_path / "weights"
    folder.mkdir()
    for family in ("3b", "7b"):
        state = {key[3:]: value for key, value in golden(f"dit_{family}_tiny").items() if key.startswith("sd.")}
        for name in (f"seedvr2_ema_{family}.pth", f"seedvr_ema_{family}.pth"):
            torch.save(state, folder / name)
    torch.save(codec.vae.state_dict(), folder / "ema_vae.pth")
    width = RELEASED["3b"]["txt_in_dim"]
    for number, name in enumerate(("pos_emb.pt", "neg_emb.pt")):
        generator = torch.Generator().manual_seed(number)
        torch.save(torch.randn(5 + number, width, generator=generator).bfloat16(), folder / name)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(folder))
    return folder


def loaded(name, **changes):
    return load_model(find_model(name, has_gpu=False), **{**CPU, **changes})


@pytest.mark.parametrize("name", ["3b", "7b", "seedvr-3b", "seedvr-7b"])
def test_released_weights_load_as_they_were_saved(weights, golden_dit, codec, name):
    model = loaded(name)
    family = name[-2:]
    for network, original in ((model.generator, golden_dit(family)), (model.codec.vae, codec.vae)):
        assert all(torch.equal(network.state_dict()[key], value) for key, value in original.state_dict().items())
    assert (model.codec.posterior, model.codec.scale) == ("mean", 0.9152)
    assert torch.equal(model.prompt, torch.load(weights / "pos_emb.pt"))
    if name.startswith("seedvr-"):
        assert torch.equal(model.negative, torch.load(weights / "neg_emb.pt"))
    else:
        assert model.negative is None


def test_converted_and_wrapped_files_load_too(weights, golden_dit):
    path = weights / "seedvr2_ema_3b.pth"
    state = torch.load(path)
    wrapped = {"ema": {f"module.{name}": value for name, value in state.items()}, "step": 9}
    torch.save(wrapped, path)
    for _ in range(2):
        found = loaded("3b").generator.state_dict()
        assert all(torch.equal(found[key], value) for key, value in golden_dit("3b").state_dict().items())
        save_file(state, path.with_suffix(".safetensors"))
        path.unlink(missing_ok=True)


class Payload:
    """Runs a command when it is unpickled without care."""

    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return (os.system, (f"touch {self.victim}",))


def copied(source):
    return lambda path: path.write_bytes((path.parent / source).read_bytes())


def edited(change):
    def edit(path):
        state = torch.load(path)
        change(state)
        torch.save(state, path)

    return edit


def poison(state):
    state["blocks.1.mlp.vid.proj_in.weight"][3, 5] = torch.nan


@pytest.mark.parametrize("file", ["seedvr2_ema_3b.pth", "ema_vae.pth", "pos_emb.pt"])
def test_damaged_files_are_named(weights, tmp_path, file):
    path, victim = weights / file, tmp_path / "victim"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UserError, match=rf"{file}' cannot be read, it is cut off or damaged"):
        loaded("3b")
    torch.save({"weight": Payload(victim)}, path)
    with pytest.raises(UserError, match=rf"{file}' holds code besides tensors \(posix\.system\) and was not read"):
        loaded("3b")
    assert not victim.exists()


@pytest.mark.parametrize(
    ("file", "spoil", "told"),
    [
        (
            "seedvr2_ema_3b.pth",
            copied("seedvr2_ema_7b.pth"),
            "holds a generator of the 7b family, but 3b is of the 3b family; give it the name of a 7b model's file",
        ),
        ("seedvr2_ema_3b.pth", copied("ema_vae.pth"), "holds the autoencoder instead of a generator"),
        ("seedvr2_ema_3b.pth", copied("pos_emb.pt"), "is not a table of tensors by name"),
        ("ema_vae.pth", copied("seedvr2_ema_7b.pth"), "holds a generator of the 7b family instead of the autoencoder"),
        ("pos_emb.pt", copied("ema_vae.pth"), "is not one table (tokens, width) of text embeddings"),
        (
            "pos_emb.pt",
            lambda path: torch.save(torch.ones(5, 48), path),
            "holds text embeddings of width 48, but the generator of 3b takes 64",
        ),
        ("pos_emb.pt", lambda path: torch.save(torch.full((5, 64), torch.nan), path), "not finite numbers"),
        ("seedvr2_ema_3b.pth", edited(lambda state: [state.popitem() for _ in range(60)]), "(60 missing: blocks."),
        ("seedvr2_ema_3b.pth", edited(lambda state: state.clear()), " missing: blocks."),
        ("seedvr2_ema_3b.pth", edited(lambda state: state.update(extra=torch.ones(1))), "1 unexpected: extra"),
        ("seedvr2_ema_3b.pth", edited(poison), "blocks.1.mlp.vid.proj_in.weight of "),
        ("ema_vae.pth", edited(lambda state: state.popitem()), "1 missing (decoder.conv_out.bias)"),
    ],
)
def test_files_that_do_not_fit_are_named_in_one_short_sentence(weights, file, spoil, told):
    spoil(weights / file)
    with pytest.raises(UserError) as caught:
        loaded("3b")
    message = str(caught.value)
    assert told in message
    assert str(weights / file) in message
    assert len(message) < 600
    assert "\n" not in message


def test_the_negative_prompt_is_checked_as_well(weights):
    torch.save(torch.ones(5, 48), weights / "neg_emb.pt")
    loaded("3b")
    with pytest.raises(UserError, match=r"neg_emb\.pt holds text embeddings of width 48"):
        loaded("seedvr-3b")


def test_weights_beyond_half_precision_are_named(weights):
    edited(lambda state: state["vid_in.proj.bias"].fill_(1e6))(weights / "seedvr2_ema_3b.pth")
    loaded("3b", dtype=torch.bfloat16)
    with pytest.raises(UserError, match=r"vid_in\.proj\.bias of .* is not finite in float16.*--dtype"):
        loaded("3b", dtype=torch.float16)


def ends(folder):
    """A model folder with two random generators; returns their states, vivid and faithful."""
    states = []
    for end in ("faithful", "vivid"):
        torch.manual_seed(len(end))
        made = exported(folder, facts={"scale": 1.5})
        states.append(made["generator"].network.state_dict())
        if end == "faithful":
            (folder / "generator.safetensors").rename(folder.parent / "faithful.safetensors")
            shutil.rmtree(folder)
    (folder.parent / "faithful.safetensors").rename(folder / "faithful.safetensors")
    return states[1], states[0]


def test_fidelity_moves_the_weights_from_one_end_to_the_other(tmp_path):
    vivid, faithful = ends(tmp_path / "model")
    files = find_model(str(tmp_path / "model"), has_gpu=False)
    for fidelity in (0.0, 0.25, 1.0):
        state = load_model(replace(files, fidelity=fidelity), **CPU).generator.state_dict()
        for key, value in state.items():
            between = (1 - fidelity) * vivid[key] + fidelity * faithful[key]
            torch.testing.assert_close(value, between, rtol=0, atol=0 if fidelity in (0, 1) else 1e-6)


def test_generators_of_two_sizes_have_nothing_between_them(tmp_path):
    ends(tmp_path / "model")
    (tmp_path / "model" / "faithful.safetensors").write_bytes((tmp_path / "model" / "vae.safetensors").read_bytes())
    files = find_model(str(tmp_path / "model"), has_gpu=False)
    with pytest.raises(UserError, match=r"faithful\.safetensors holds a generator of another size"):
        load_model(replace(files, fidelity=0.5), **CPU)


@pytest.mark.parametrize(
    ("fidelity", "told"), [(2.0, "--fidelity 2 makes no sense"), (float("nan"), "--fidelity nan makes no sense")]
)
def test_fidelity_lies_between_two_ends(tmp_path, fidelity, told):
    ends(tmp_path / "model")
    files = find_model(str(tmp_path / "model"), has_gpu=False)
    assert with_fidelity(files, 0.5).fidelity == 0.5
    assert with_fidelity(files, None).fidelity == 0
    with pytest.raises(UserError, match=told):
        with_fidelity(files, fidelity)
    with pytest.raises(UserError, match=r"--fidelity 0.5 needs a model with two generators"):
        with_fidelity(replace(files, faithful=None), 0.5)


def test_both_ends_of_a_run_are_named_among_its_files(tmp_path):
    ends(tmp_path / "vivid" / "final")
    other = tmp_path / "faithful" / "final" / "generator.safetensors"
    other.parent.mkdir(parents=True)
    (tmp_path / "vivid" / "final" / "faithful.safetensors").rename(other)
    model = load_choice(Choice(str(tmp_path / "vivid"), device="cpu", fidelity=0.0), Events(quiet=True))
    hashes = model.facts["sha256"]
    assert set(hashes) == {f"{name}.safetensors" for name in ("generator", "faithful", "vae", "prompts")}
    assert hashes["generator.safetensors"] != hashes["faithful.safetensors"]
    assert model.facts["fidelity"] == 0


def test_latents_of_an_own_model_are_the_same_in_every_type():
    files = find_model("tiny", has_gpu=False)
    frames = torch.rand(5, 3, 32, 48) * 2 - 1
    latents = [
        load_model(files, device=torch.device("cpu"), dtype=dtype, posterior="mean").codec.encode(frames)
        for dtype in (torch.float32, torch.bfloat16)
    ]
    assert torch.equal(*latents)


@pytest.mark.skipif(not MAPS.exists(), reason="this system does not list what a process has mapped")
def test_files_do_not_stay_in_memory_for_what_keeps_its_type(tmp_path):
    exported(tmp_path / "model", facts={"scale": 1.5})
    model = load_model(find_model(str(tmp_path / "model"), has_gpu=False), **{**CPU, "dtype": torch.bfloat16})
    assert model.codec.vae.encoder.conv_in.weight.dtype == torch.float32
    assert str(tmp_path / "model/vae.safetensors") not in MAPS.read_text()
