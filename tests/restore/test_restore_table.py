"""The table of models: what it says, how a user's own adds to it, and that it can say nothing else."""

from pathlib import Path

import pytest

from seedvr2.errors import UserError
from seedvr2.restore.table import ASSETS, VARIABLE, read_table

OWN = """
mine:
  repository: me/models
  files: {generator: mine.safetensors, vae: sub/vae.pth, positive: {name: pos.pt, sha256: %s}}
  family: 7b
""" % ("ab" * 32)


@pytest.fixture(autouse=True)
def _no_table_of_the_user(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def table(tmp_path, text):
    (tmp_path / "own.yaml").write_text(text)
    return read_table(tmp_path / "own.yaml")


def test_the_released_models_are_in_it():
    found = read_table()
    assert list(found) == ["tiny", "3b", "7b", "7b-sharp", "seedvr-3b", "seedvr-7b"]
    assert found["tiny"].folder == ASSETS / "tiny"
    released = {name: entry for name, entry in found.items() if name != "tiny"}
    assert {name: (e.files["generator"].repository, e.files["generator"].name) for name, e in released.items()} == {
        "3b": ("ByteDance-Seed/SeedVR2-3B", "seedvr2_ema_3b.pth"),
        "7b": ("ByteDance-Seed/SeedVR2-7B", "seedvr2_ema_7b.pth"),
        "7b-sharp": ("ByteDance-Seed/SeedVR2-7B", "seedvr2_ema_7b_sharp.pth"),
        "seedvr-3b": ("ByteDance-Seed/SeedVR-3B", "seedvr_ema_3b.pth"),
        "seedvr-7b": ("ByteDance-Seed/SeedVR-7B", "seedvr_ema_7b.pth"),
    }
    for name, entry in released.items():
        several = name.startswith("seedvr-")
        assert (entry.steps, entry.multi_step) == ((50, True) if several else (1, False))
        assert (entry.cfg, entry.condition_noise) == ((6.5, 0.1) if several else (1, 0))
        assert entry.family in name
        assert (entry.color_fix, entry.window) == ("wavelet", 33)
        files = entry.files
        assert [file.name for file in files.values()][1:] == ["ema_vae.pth", "pos_emb.pt", "neg_emb.pt"]
        assert [str(file.sha256)[:8] for file in files.values()] == ["None", "None", "fa07a148", "6a43e580"]


def test_a_table_of_the_user_adds_names_and_replaces_single_values(tmp_path, monkeypatch):
    text = OWN + "3b: {revision: v2, files: {positive: other.pt}}\ntiny: {window: 33}\n7b: {folder: runs/x}\n"
    found, before = table(tmp_path, text), read_table()
    assert list(found) == [*before, "mine"]
    mine = found["mine"]
    assert (mine.family, mine.steps, mine.cfg, mine.files["generator"].revision) == ("7b", 1, 1, "main")
    assert (mine.files["vae"].name, mine.files["positive"].sha256) == ("sub/vae.pth", "ab" * 32)
    files = found["3b"].files
    assert {file.revision for file in files.values()} == {"v2"}
    assert (files["positive"].name, files["positive"].sha256) == ("other.pt", None)
    assert files["generator"].name == "seedvr2_ema_3b.pth"
    assert (found["tiny"].folder, found["tiny"].window) == (before["tiny"].folder, 33)
    assert (found["7b"].folder, found["7b"].files) == (tmp_path / "runs/x", None)
    assert found["7b-sharp"] == before["7b-sharp"]
    monkeypatch.setenv(VARIABLE, str(tmp_path / "own.yaml"))
    assert read_table() == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("3b: {reposotory: a/b}", "3b has an unknown key 'reposotory'; did you mean 'repository'"),
        ("3b: {_target_: os.system}", "3b has an unknown key '_target_'"),
        ("3b: {class: x}", "unknown key 'class'"),
        ("3b: {repository: {_target_: os.system}}", "3b has repository .*; write OWNER/NAME"),
        ("3b: {repository: https://evil/x}", "write OWNER/NAME"),
        ("3b: {revision: 12345678}", "3b has revision 12345678; write a branch, tag or commit, in quotes"),
        ("3b: {family: 14b}", "3b has family '14b'; use 3b or 7b"),
        ("3b: {steps: 0}", "3b has steps 0; give a whole number of at least 1"),
        ("3b: {steps: 1.5}", "3b has steps 1.5"),
        ("3b: {steps: true}", "3b has steps True"),
        ("3b: {cfg: 6.5}", "3b has cfg 6.5; guidance needs multi_step: true"),
        ("3b: {cfg: .nan}", "3b has cfg nan"),
        ("3b: {condition_noise: 2}", "give a share from 0 to 1"),
        ("3b: {color_fix: [lab]}", r"3b has color_fix \['lab'\]; use one of wavelet"),
        ("3b: {fidelity: 0.5}", "3b has fidelity 0.5; only a folder with two generators has one"),
        ("mine: {folder: x, fidelity: 2}", r"mine has fidelity 2; give a number from 0 \(vivid\) to 1 \(faithful\)"),
        ("3b: {window: 16}", "3b has window 16; give 4k \\+ 1 frames"),
        ("3b: {files: {generator: ../../x.pth}}", r"generator file '\.\./\.\./x\.pth'"),
        ("3b: {files: {generator: /etc/x.pth}}", "generator file '/etc/x.pth'"),
        ("3b: {files: {generator: run.py}}", "generator file 'run.py'"),
        ("3b: {files: {generator: {name: x.pth, url: y}}}", "does not name its generator file"),
        ("3b: {files: {teacher: x.pth}}", "files of an unknown kind 'teacher'"),
        ("3b: {files: {vae: {name: x.pth, sha256: 12}}}", "the vae sha256 12; write 64 hexadecimal digits"),
        ("3b: {files: x.pth}", "3b has files 'x.pth'; name the files of generator"),
        ("mine: {family: 3b}", "mine lacks 'repository'; give repository, files, family, or a folder"),
        ("mine: {repository: a/b, family: 3b, files: {vae: x.pth, positive: x.pt}}", "names no file of its generator"),
        ("mine: {folder: x, steps: 3}", "mine has steps 3; an entry with a folder has no such key"),
        ("mine: {folder: 3}", "mine has folder 3; write a path"),
        ("3b: 7", "is not understood; give names, each with keys and values"),
        ("- 3b", "is not understood"),
        ("3b: {", "own.yaml cannot be read"),
        ("3b: !!python/object/apply:os.system [touch victim]", "own.yaml cannot be read"),
    ],
)
def test_what_is_not_understood_is_named(tmp_path, text, told, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told) as caught:
        table(tmp_path, text)
    assert "own.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("victim").exists()


def test_a_table_that_is_not_there_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml cannot be read"):
        read_table(tmp_path / "nowhere.yaml")
