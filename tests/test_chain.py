"""The whole chain of stages at its smallest: trained, killed and continued, restored with."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from seedvr2 import infer, precompute, train
from seedvr2.io.images import read_image, write_image
from seedvr2.optim.trainee import Trainee
from seedvr2.training.weights import load_network, read_metadata

STAGES = ["vae", "base", "distill_4to2", "distill_2to1", "apt"]
SHORT = [
    "+experiment=debug",
    "run.threads=1",
    *(f"stages.{name}.iterations={count}" for name, count in {"vae": 5, "base": 4, "distill": 3, "apt": 3}.items()),
    *(f"stages.{name}.save_every=2" for name in ("vae", "base", "distill", "apt")),
    *(f"stages.{name}.preview_every=0" for name in ("base", "distill")),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train.main([*SHORT, f"run.dir={folder}"])
    return folder


def finals(folder):
    """Bytes of every exported file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("*/final/*.safetensors"))}


def test_every_stage_leaves_its_networks_and_metrics(run):
    generator = ["generator", "prompts"]
    networks = {"vae": ["vae"], "base": generator, "distill_4to2": generator, "distill_2to1": generator}
    networks["apt"] = ["discriminator", *generator]
    assert {name: sorted(p.stem for p in (run / name / "final").iterdir()) for name in STAGES} == networks
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(record["stage"] for record in records)) == STAGES
    assert {"stage", "step", "time", "apt/d/gan", "apt/d/r1", "apt/d/r2", "apt/g/gan", "apt/g/l1"} <= set(records[-1])
    assert all(isinstance(value, float | int | str) for record in records for value in record.values())
    assert (run / "config.yaml").is_file()
    assert list((run / "apt" / "samples").iterdir())


def test_the_configuration_of_a_run_is_that_of_what_trained_it(run, tmp_path, capsys):
    shutil.copytree(run / "vae", tmp_path / "run/vae")
    one = [*SHORT, f"run.dir={tmp_path / 'run'}", "~stages.base", "~stages.distill", "~stages.apt"]
    train.main(one)
    assert not (tmp_path / "run/config.yaml").exists(), "nothing was trained"
    base = [part for part in one if part != "~stages.base"] + ["stages.base.iterations=1"]
    with pytest.raises(SystemExit):
        train.main([*base, "data=video_720p", "data.root=/nosuch"])
    assert not (tmp_path / "run/config.yaml").exists(), "nothing could be trained"
    train.main(base)
    before = (tmp_path / "run/config.yaml").read_text()
    (tmp_path / "run/config.1.yaml").write_text("older")
    shutil.rmtree(tmp_path / "run/base/final")
    train.main([*base, "run.keep=3"])
    assert "kept as config.2.yaml" in capsys.readouterr().out
    texts = [(tmp_path / f"run/config{number}.yaml").read_text() for number in (".1", ".2", "")]
    assert texts == ["older", before, before.replace("keep: 2", "keep: 3")]


def test_half_precision_trains_nearly_the_same_and_not_the_same(run, tmp_path):
    shutil.copytree(run / "vae", tmp_path / "run/vae")
    rest = ["~stages.distill", "~stages.apt", "stages.base.preview_every=0"]
    train.main([*SHORT, f"run.dir={tmp_path / 'run'}", "run.precision=bf16", *rest])
    losses = []
    for folder in (run, tmp_path / "run"):
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        losses.append([record["base/loss"] for record in records if record["stage"] == "base"])
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1]


def test_latents_made_beforehand_train_a_stage(run, tmp_path):
    vae, cache = run / "vae/final/vae.safetensors", tmp_path / "cache"
    shapes = "data.shapes=[{_target_: seedvr2.data.shapes.Shape, frames: 1, height: 32, width: 32, batch: 2}]"
    data = ["vae=debug", "data=procedural", "degradation=light", shapes]
    precompute.main([*data, f"weights={vae}", f"output={cache}", "samples=2", "draws=1", "device=cpu", "workers=0"])
    shutil.copytree(run / "vae", tmp_path / "run/vae")
    rest = ["~stages.distill", "~stages.apt", f"stages.base.feed.cache={cache}", "stages.base.iterations=1"]
    train.main([*SHORT, f"run.dir={tmp_path / 'run'}", shapes, *rest])
    assert (tmp_path / "run/base/final/generator.safetensors").is_file()


def test_a_run_killed_while_saving_between_stages_and_at_random_ends_with_the_same_bytes(
    run, tmp_path, monkeypatch, capsys
):
    for moment, step in (("save", 2), ("handover", None)):
        command = [sys.executable, "-m", "tests.killing", moment, *SHORT, f"run.dir={tmp_path / 'broken'}"]
        killed = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
        assert killed.returncode == -9, killed.stderr
        saved = tmp_path / "broken/vae/checkpoints"
        if step:
            assert sorted(path.name for path in saved.iterdir()) == [".00000004.part", "00000002"]
        else:
            assert ".00000004.part was not finished" in killed.stdout
            assert "continuing at 2" in killed.stdout
            assert [path.name for path in (tmp_path / "broken").glob("*/final")] == ["final"]
    moments, update = random.Random(5), Trainee.update
    kills = 0

    def fragile(self, batches, loss):
        nonlocal left
        left -= 1
        if left == 0:
            raise ConnectionAbortedError("killed")
        return update(self, batches, loss)

    monkeypatch.setattr(Trainee, "update", fragile)
    while True:
        left = moments.randint(3, 12)
        try:
            train.main([*SHORT, f"run.dir={tmp_path / 'broken'}"])
            break
        except ConnectionAbortedError:
            kills += 1
    assert kills >= 1
    assert finals(tmp_path / "broken") == finals(run)


def test_exports_carry_released_names_and_rebuild_their_network(run):
    path = run / "apt" / "final" / "generator.safetensors"
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
    assert {"vid_in.proj.weight", "blocks.0.attn.rope.rope.freqs", "vid_out_ada.out_shift"} <= names
    assert not any(name.startswith("trunk.") for name in names)
    assert load_network(path).trunk.layers == 4
    assert read_metadata(run / "vae" / "final" / "vae.safetensors")["scale"] > 0


def test_a_finished_run_restores_an_image(run, tmp_path):
    source = tmp_path / "lq.png"
    write_image(source, np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8))
    infer.main(["--input", str(source), "--model", str(run), "--scale", "2", "--device", "cpu"])
    assert read_image(tmp_path / "lq_restored.png").shape == (48, 80, 3)


def test_distillation_without_a_base_says_where_to_get_one(tmp_path, capsys):
    arguments = ["+stage@stages.distill=distill", "model=debug", f"run.dir={tmp_path}/run"]
    with pytest.raises(SystemExit) as caught:
        train.main(arguments)
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert "run.weights" in message
    assert "seedvr_ema_7b.pth" in message


def test_a_stage_can_start_from_the_export_of_another_run(run, tmp_path):
    weights = f"run.weights={{generator: {run}/base/final/generator.safetensors, vae: {run}/vae/final/vae.safetensors, "
    weights += f"prompts: {run}/base/final/prompts.safetensors}}"
    small = ["model=debug", "vae=debug", "degradation=light", "run.threads=1", "stages.apt.iterations=1"]
    train.main(["+stage@stages.apt=apt", *small, weights, f"run.dir={tmp_path}/run"])
    assert (tmp_path / "run/apt/final/discriminator.safetensors").is_file()
