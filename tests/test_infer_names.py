"""infer with models by name: fetched from a hub on this machine, run in many guided steps, and accounted for."""

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from seedvr2 import config, infer
from seedvr2.io.images import read_image, write_image
from seedvr2.models.released import RELEASED
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.objectives.objective import Exported
from seedvr2.restore import table
from seedvr2.restore.search import WEIGHTS_VARIABLE
from seedvr2.training.weights import export
from tests import hub as fake
from tests.conftest import randomize
from tests.miniature_infer import SIZES, VAE

REPOSITORY = "ByteDance-Seed/SeedVR-3B"
WIDTH = SIZES["3b"]["txt_in_dim"]
# The released embeddings have checksums in the table; miniature ones need a table of their own.
TABLE = """
seedvr-3b: {files: {positive: pos_emb.pt, negative: neg_emb.pt}}
3b: {repository: ByteDance-Seed/SeedVR-3B, files: {generator: seedvr_ema_3b.pth, positive: pos_emb.pt}}
"""


def saved(tensors):
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def files():
    """Bytes of the files of a multi-step model in miniature."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        vae = VideoVAE((16, 16, 16, 16), 1, groups=8)
        prompts = torch.randn(2, 5, WIDTH).bfloat16()
    return {
        "ema_vae.pth": saved(vae.state_dict()),
        "pos_emb.pt": saved(prompts[0].clone()),
        "neg_emb.pt": saved(prompts[1].clone()),
    }


@pytest.fixture
def hub(monkeypatch, tmp_path, files, golden):
    monkeypatch.setitem(RELEASED, "vae", VAE)
    for family, sizes in SIZES.items():
        monkeypatch.setitem(RELEASED, family, sizes)
    generator = {key[3:]: value for key, value in golden("dit_3b_tiny").items() if key.startswith("sd.")}
    contents = {**files, "seedvr_ema_3b.pth": saved(generator)}
    (tmp_path / "models.yaml").write_text(TABLE)
    write_image(tmp_path / "lq.png", (np.mgrid[:24, :32, :3].sum(0) * 4).astype(np.uint8))
    with fake.running() as hub:
        hub.files = {f"{REPOSITORY}/{name}": content for name, content in contents.items()}
        places = {"ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "home" / "hub"), "HF_HUB_OFFLINE": False}
        places["HUGGINGFACE_CO_URL_TEMPLATE"] = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in places.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv(table.VARIABLE, str(tmp_path / "models.yaml"))
        monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
        monkeypatch.chdir(tmp_path)
        yield hub


def run(*arguments, output="out.png"):
    basic = ["--input", "lq.png", "--output", output, "--scale", "1", "--dtype", "fp32", "--device", "cpu"]
    infer.main([*basic, *map(str, arguments)])
    return read_image(output).astype(int)


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        run(*arguments)
    assert exit_.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def account(output="out.png"):
    return json.loads(Path(f"{output}.json").read_text())["model"]


def test_a_command_fetches_its_model_and_then_runs_without_a_network(hub, tmp_path):
    command = [sys.executable, "-m", "tests.miniature_infer", "--input", "lq.png", "--scale", "1", "--dtype", "fp32"]
    command += ["--model", "seedvr-3b", "--steps", "2", "--output"]
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(fake.__file__).parents[1])
    done = subprocess.run([*command, "a.png"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "fetching seedvr_ema_3b.pth (" in done.stdout
    assert "MB in all" in done.stdout
    assert "2 steps with guidance 6.5" in done.stdout
    assert len(hub.sent) == 4
    hub.down = True
    pixels = run("--model", "seedvr-3b", "--steps", "2", output="b.png")
    assert np.array_equal(pixels, read_image("a.png"))
    first = account("a.png")
    assert account("b.png") == first
    assert (first["steps"], first["cfg"], first["cfg_rescale"], first["condition_noise"]) == (2, 6.5, 0.0, 0.1)
    hashes = {name.split("/")[-1]: hashlib.sha256(content).hexdigest() for name, content in hub.files.items()}
    assert first["sha256"] == hashes


def test_mistakes_are_told_before_anything_is_fetched(hub, capsys, tmp_path):
    before = sorted(os.listdir(tmp_path))
    for arguments, told in (
        (("--input", "gone.png"), "gone.png"),
        (("--output", "nowhere/out.png"), "nowhere does not exist"),
        (("--window", "16"), "--window 16 is not 4k + 1"),
        (("--cfg", "nan"), "--cfg nan makes no sense"),
        (("--cfg", "-1"), "--cfg -1.0 makes no sense"),
        (("--cfg-rescale", "1.5"), "--cfg-rescale 1.5 makes no sense"),
        (("--cfg", "1", "--cfg-rescale", "0.5"), "--cfg-rescale 0.5 has nothing to rescale"),
        (("--steps", "0"), "--steps 0 makes no sense"),
        (("--model", "3b", "--cfg", "3"), "--cfg 3 needs a multi-step model, and 3b is made for 1 step"),
        (("--model", "tiny", "--cfg", "3"), "--cfg 3 needs a multi-step model, and tiny is made for 1 step"),
        (("--model", "3b", "--cfg-rescale", "0.3"), "--cfg-rescale 0.3 needs a multi-step model"),
        (("--model", "3b", "--steps", "4"), "--steps 4 does not fit 3b, which is made for 1"),
        (("--models", "gone.yaml"), "gone.yaml cannot be read"),
    ):
        assert told in refusal(capsys, "--model", "seedvr-3b", *arguments)
    assert hub.sent == []
    assert sorted(os.listdir(tmp_path)) == before


def test_a_download_that_fails_leaves_no_output(hub, capsys, tmp_path):
    hub.liars = {f"{REPOSITORY}/ema_vae.pth"}
    assert "ema_vae.pth of ByteDance-Seed/SeedVR-3B came with" in refusal(capsys, "--model", "seedvr-3b", "--quiet")
    hub.down = True
    assert "cannot give" in refusal(capsys, "--model", "seedvr-3b")
    assert not (tmp_path / "out.png").exists()
    assert not (tmp_path / ".out.png.work").exists()


def test_guidance_its_rescale_and_the_condition_noise_reach_the_picture(hub, tmp_path, monkeypatch):
    for name, content in hub.files.items():
        (tmp_path / name.split("/")[-1]).write_bytes(content)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    (tmp_path / "calm.yaml").write_text(TABLE.replace("{files", "{condition_noise: 0, files", 1))
    variants = {
        "usual": (),
        "same": ("--cfg", 6.5),
        "plain": ("--cfg", 1),
        "rescaled": ("--cfg-rescale", 0.3),
        "calm": ("--models", "calm.yaml"),
    }
    pictures = {
        name: run("--model", "seedvr-3b", "--steps", 2, *arguments, output=f"{name}.png")
        for name, arguments in variants.items()
    }
    assert np.array_equal(pictures.pop("same"), pictures["usual"])
    assert all(not np.array_equal(pictures[name], pictures["usual"]) for name in ("plain", "rescaled", "calm"))
    assert hub.sent == []
    assert [account(f"{name}.png")["cfg"] for name in ("usual", "plain")] == [6.5, 1.0]
    assert account("rescaled.png")["cfg_rescale"] == 0.3
    assert account("calm.png")["condition_noise"] == 0


def test_a_base_stage_of_ones_own_is_guided_when_asked(hub, tmp_path, capsys):
    settings = config.plain(config.load("train", ["+experiment=debug", "run.dir=unused"]))
    networks = {}
    for name, key in (("vae", "vae"), ("generator", "model"), ("prompts", "prompts")):
        recipe = config.build(settings[key], key)
        networks[name] = Exported(randomize(recipe(), seed=1), recipe, {"scale": 1.0})
    export(networks, tmp_path / "run" / "base" / "final")
    plain = run("--model", "run", output="plain.png")
    assert "8 steps, seed" in capsys.readouterr().out
    guided = run("--model", "run", "--cfg", "4", output="guided.png")
    assert "8 steps with guidance 4, seed" in capsys.readouterr().out
    assert not np.array_equal(plain, guided)
    assert (account("guided.png")["cfg"], account("guided.png")["condition_noise"]) == (4, 0)


def test_a_model_takes_fifty_steps_unless_told_otherwise(hub, capsys):
    run("--model", "seedvr-3b", "--cfg", "1")
    assert "50 steps," in capsys.readouterr().out
    assert account()["steps"] == 50
