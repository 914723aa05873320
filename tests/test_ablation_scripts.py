"""The scripts that prove the recipe: rungs that are comparable, verdicts that follow from numbers."""

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch

from seedvr2 import config, train
from seedvr2.errors import UserError
from seedvr2.models.start import start_as_copy
from seedvr2.models.windows import adaptive_window, fixed_window
from seedvr2.restore.search import find_model

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import ablation_ladder
import distillation_health
import ladder_report
import toy_training
import window_artifacts

OPTIONS = ablation_ladder.Options(updates=100, guidance=1.5, ema=0.9)
ALIVE = {"change": 0.2, "d/margin": 0.1, "d/r1": 1e-5, "d/r2": 1e-5, "fake_grad_norm/gan_share": 0.3}


@pytest.fixture
def study(tmp_path):
    return toy_training.Study(tmp_path / "study", toy_training.SIZES["toy"])


@pytest.fixture
def trainings(monkeypatch):
    """Arguments of the trainings that would have been run."""
    given = []

    def fake(module, arguments, log):
        settings = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
        Path(settings["output" if module == "seedvr2.precompute" else "run.dir"]).mkdir(parents=True, exist_ok=True)
        if module == "seedvr2.train":
            given.append(arguments)

    monkeypatch.setattr(toy_training, "command", fake)
    return given


def stages(arguments):
    """Stages that a captured training would run."""
    return train.build(config.plain(config.load("train", arguments)))[1]


def recipe(stage) -> dict:
    """The arguments of a stage's objective."""
    objective, found = stage.objective, {}
    while hasattr(objective, "func"):
        found, objective = {**objective.keywords, **found}, objective.func
    return found


@pytest.mark.parametrize("size", toy_training.SIZES.values(), ids=list(toy_training.SIZES))
def test_the_base_of_every_size_can_start_as_a_copy(size):
    settings = ["+stage@stages.base=base", "run.dir=x", "data=procedural", "data.shapes=[]", *size.networks]
    generator = config.build(config.plain(config.load("train", settings))["model"], "model")()
    start_as_copy(generator, torch.Generator().manual_seed(0))


def test_every_size_makes_a_training(tmp_path, trainings):
    for name, size in toy_training.SIZES.items():
        ablation_ladder.rung(toy_training.Study(tmp_path / name, size), 0, ablation_ladder.LAST, OPTIONS)
        assert len(stages(trainings[-1])) == 7


@pytest.mark.parametrize("name", ablation_ladder.RUNGS)
def test_every_rung_is_a_training_with_the_same_number_of_updates_from_the_same_base(study, trainings, name):
    ablation_ladder.rung(study, 3, name, OPTIONS)
    chain = stages(trainings[-1])
    updates = sum(stage.iterations for stage in chain)
    assert updates == OPTIONS.updates if name != ablation_ladder.DISTILL_ONLY else 0.9 * OPTIONS.updates < updates
    settings = config.plain(config.load("train", trainings[-1]))
    assert settings["run"]["seed"] == 3
    assert settings["run"]["weights"]["generator"] == str(study.out / "seed3/base/base/final/generator.safetensors")
    assert {stage.feed.keywords["cache"] for stage in chain} == {str(study.out / "cache")}
    assert len(chain) == (1 if name in list(ladder_report.TABLE_3)[:-1] else 6 if "only" in name else 7)


def test_every_question_changes_one_thing_of_the_last_rung(study, trainings):
    ablation_ladder.rung(study, 0, ablation_ladder.LAST, OPTIONS)
    usual = config.plain(config.load("train", trainings[-1]))
    for name in ablation_ladder.QUESTIONS:
        ablation_ladder.rung(study, 0, name, OPTIONS)
        asked = config.plain(config.load("train", trainings[-1]))
        changed = {key for key in usual if usual[key] != asked[key]} - {"run"}
        assert changed in ({"stages"}, {"stages", "discriminator"}), name


@pytest.mark.parametrize(("argument", "word"), [("--rungs=plus_l2", "plus_l2"), ("--updates=5", "too few")])
def test_what_cannot_be_run_is_refused_before_anything_is_made(tmp_path, monkeypatch, capsys, argument, word):
    monkeypatch.setattr(sys, "argv", ["ablation_ladder.py", "--out", str(tmp_path / "new"), argument])
    with pytest.raises(SystemExit) as caught:
        ablation_ladder.main()
    assert caught.value.code == 2
    assert word in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_windows_are_those_of_their_names_in_every_network_of_both_stages(tmp_path, trainings):
    study = toy_training.Study(tmp_path, window_artifacts.SIZE)
    for kind, rule in (("adaptive", adaptive_window), ("fixed", fixed_window)):
        window_artifacts.trained(study, kind, 0, 5)
        (base,), (apt,) = map(stages, trainings[-2:])
        networks = [recipe(base)["generator"], *(recipe(apt)[name] for name in ("generator", "discriminator"))]
        rules = {network.keywords["trunk"].keywords["window"].func for network in networks}
        assert rules == {rule}


def test_a_study_is_not_continued_with_other_settings(study):
    toy_training.Study(study.out, study.size)
    with pytest.raises(UserError, match="another data"):
        toy_training.Study(study.out, study.size, data=Path("elsewhere"))


def test_held_out_clips_are_stills_and_videos_made_once(study):
    folder = study.held_out()
    stills, videos = sorted(folder.glob("*.png")), [path for path in folder.iterdir() if path.is_dir()]
    assert stills
    assert {len(list(video.glob("*.png"))) for video in videos} == {toy_training.FRAMES}
    before = stills[0].stat().st_mtime_ns
    assert study.held_out() == folder
    assert stills[0].stat().st_mtime_ns == before


def test_the_middle_of_a_picture_has_sides_that_models_take():
    frame = np.arange(50 * 70 * 3, dtype=np.uint8).reshape(50, 70, 3)
    assert np.array_equal(toy_training.middle(frame, 32), frame[9:41, 19:51])
    assert toy_training.middle(frame, 640).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        ({}, None),
        ({"change": 0.001}, "unchanged"),
        ({"d/margin": -1e-5}, "gap"),
        ({"d/r1": 1e-12, "d/r2": 1e-12}, "floor"),
        ({"fake_grad_norm/gan_share": 0.01}, "1.0% of the pull"),
        ({"fake_grad_norm/gan_share": None}, None),
    ],
)
def test_a_gan_that_does_nothing_is_told_by_its_sign(change, sign):
    found = ladder_report.idle({**ALIVE, **change})
    assert [sign in one for one in found] == ([True] if sign else [])
    text = ladder_report.markdown({"a": {}}, [], {"a": {**ALIVE, **change, "idle": found}}, [])
    assert ("THE GAN DOES NOTHING" in text) == bool(sign)


def test_the_order_of_rungs_is_compared_with_the_papers():
    def one(psnr, hf):
        return {"scores": {"psnr": psnr, "hf": hf, "vmaf": None}}

    seeds = {
        0: {"rpgan_r1_r2": one(20.0, 1.0), "plus_l1": one(21.0, 0.5), "plus_features": one(22.0, 0.5)},
        1: {"rpgan_r1_r2": one(20.2, 1.2), "plus_l1": one(21.2, 0.5), "plus_features": one(22.0, 0.5)},
    }
    table = ladder_report.table_of(seeds)
    assert table["rpgan_r1_r2"]["psnr"] == pytest.approx({"mean": 20.1, "spread": 0.2 / 2**0.5})
    assert "vmaf" not in table["plus_l1"]
    first, second = ladder_report.order(table)
    assert first.startswith("rpgan_r1_r2 -> plus_l1: psnr +1.000, paper +0.350: as in the paper")
    assert "the paper has no difference" in second
    assert "NOT as in the paper" in ladder_report.order({**table, "plus_l1": {"psnr": {"mean": 1, "spread": None}}})[0]
    text = ladder_report.markdown(table, [first], {}, ["plus_features"])
    rows = [line.split(" | ")[0] for line in text.splitlines()[2:5]]
    assert rows == ["| plus_features", "| rpgan_r1_r2", "| plus_l1"]
    assert "20.100 ± 0.141" in text
    assert "22.56" in text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of every stage with hardly any training."""
    folder = tmp_path_factory.mktemp("run")
    shape = "{_target_: seedvr2.data.shapes.Shape, frames: 1, height: 32, width: 32, batch: 2}"
    few = [
        f"stages.{stage}.{key}={value}"
        for stage in ("vae", "base", "distill", "apt")
        for key, value in {"iterations": 2, "preview_every": 0, "save_every": 0}.items()
    ]
    train.main(
        [
            "+experiment=debug",
            f"run.dir={folder}",
            "run.device=cpu",
            f"data.shapes=[{shape}]",
            "track.terms_every=1",
            *few,
        ]
    )
    return folder


def test_students_are_compared_with_their_first_teacher(run, tmp_path):
    result = distillation_health.health(run, None, 2)
    assert [row["steps"] for row in result["stages"]] == [2, 1]
    assert result["teacher"]["steps"] == 4
    assert result["teacher"]["rmse"] == 0
    for row in result["stages"]:
        assert row["student"]["rmse"] > 0
        assert row["base"]["rmse"] > 0
        assert row["reduction"] == pytest.approx(row["first"] / row["last"])
    assert set(result["table_5"]) == {"distillation only", "with adversarial training"}
    assert json.loads(json.dumps(result)) == result
    root = ET.fromstring(distillation_health.picture(result))
    assert len(root.findall("{http://www.w3.org/2000/svg}svg")) == 3
    assert "distill_2to1" in distillation_health.text(result)
    result["stages"][0]["student"]["rmse"] = 9.0
    assert "in as few steps: distill_4to2" in distillation_health.text(result)


def test_a_run_without_distillation_is_refused(tmp_path):
    with pytest.raises(UserError, match="no finished stage of distillation"):
        distillation_health.health(tmp_path, None, 2)


def test_what_a_gan_did_is_read_from_the_run_and_its_outputs(run):
    found = ablation_ladder.gan_of(run, run / "distill_2to1" / "final", None)
    assert 0 < found["change"] < 1
    assert found["d/r1"] > 0
    assert found["fake_grad_norm/gan_share"] > 0
    unchanged = ablation_ladder.gan_of(run, run / "apt" / "final", None)
    assert unchanged["change"] == 0
    assert any("unchanged" in sign for sign in unchanged["idle"])


def test_a_folder_of_links_is_a_model(run, tmp_path):
    vae = run / "vae" / "final" / "vae.safetensors"
    for name, steps in (("base", None), ("plus_l1", 1)):
        folder = toy_training.model_folder(tmp_path / name, run / "apt" / "final", vae)
        assert toy_training.model_folder(tmp_path / name, run / "apt" / "final", vae) == folder
        assert find_model(str(folder), has_gpu=False).steps == steps


def test_detail_is_blind_to_constants_and_grows_by_the_square():
    latents = [torch.randn(1, 8, 8, 16), torch.randn(2, 8, 8, 16)]
    once = distillation_health.detail(latents)
    assert distillation_health.detail([latent + 5 for latent in latents]) == pytest.approx(once, rel=1e-3)
    assert distillation_health.detail([3 * latent for latent in latents]) == pytest.approx(9 * once, rel=1e-4)
    assert distillation_health.rmse([latent + 2 for latent in latents], latents) == pytest.approx(2)
