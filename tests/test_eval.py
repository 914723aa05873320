import json
import shutil

import numpy as np
import pytest
import torch

from seedvr2 import eval as command
from seedvr2.errors import UserError
from seedvr2.evaluation.contract import FrameMean
from seedvr2.evaluation.metric import METRICS as METRICS_BY_NAME
from seedvr2.evaluation.scoring import metrics_of
from seedvr2.restore.events import Events
from seedvr2.restore.loading import Choice
from seedvr2.restore.search import find_model
from seedvr2.training.weights import outline
from tests.evaluation.miniatures import moving, reduced_by_4, write_folder, write_video

METRICS = "psnr,ssim,psnr_y,lq_consistency,boundary_jump"


@pytest.fixture
def clips():
    return {f"{number:03d}": moving(number, frames=6) for number in (1, 2, 3)}


@pytest.fixture
def run(tmp_path, clips, capsys):
    """Evaluate on three clips; returns the report and what was printed, or raises SystemExit."""
    for name, clip in clips.items():
        write_folder(tmp_path / "gt" / name, clip)
        write_folder(tmp_path / "lq" / name, reduced_by_4(clip))

    def evaluate(*arguments: str, out: str = "out", metrics: str = METRICS, lq: bool = True):
        folders = ["--gt", str(tmp_path / "gt"), *(["--lq", str(tmp_path / "lq")] if lq else [])]
        rest = ["--out", str(tmp_path / out), "--cache", str(tmp_path / "cache"), "--workers", "1"]
        command.main(["--bench", "folder", *folders, *rest, "--metrics", metrics, *arguments])
        return json.loads((tmp_path / out / "report.json").read_text()), capsys.readouterr().out

    return evaluate


def outputs(tmp_path, clips, change=lambda clip: clip, name="made"):
    for clip, frames in clips.items():
        write_video(tmp_path / name / f"{clip}.mkv", change(frames))
    return str(tmp_path / name)


def test_outputs_equal_to_the_ground_truth_are_perfect_and_bicubic_is_beside_them(run, tmp_path, clips):
    report, said = run("--pred", f"perfect={outputs(tmp_path, clips)}")
    assert list(report["methods"]) == ["perfect", "bicubic"]
    for values in report["methods"]["perfect"]["clips"].values():
        assert values["psnr"] is None
        assert values["ssim"] == pytest.approx(1)
    assert report["methods"]["perfect"]["mean"]["psnr"] is None
    assert 10 < report["methods"]["bicubic"]["mean"]["psnr"] < 40
    assert "| psnr" in said
    page = (tmp_path / "out" / "report.html").read_text()
    assert "data:image/png" in page
    assert "perfect" in (tmp_path / "out" / "report.csv").read_text()


def test_a_shift_is_found_costs_and_is_undone_on_request(run, tmp_path, clips):
    folder = outputs(tmp_path, clips, lambda clip: [np.roll(frame, 1, axis=0) for frame in clip])
    report, _ = run("--pred", folder)
    assert all(offset["down"] == 1 and offset["right"] == 0 for offset in report["offsets"]["made"].values())
    assert report["methods"]["made"]["mean"]["psnr"] < 40
    aligned, _ = run("--pred", folder, "--register", out="aligned")
    assert aligned["registered"]
    assert all(values["psnr"] is None for values in aligned["methods"]["made"]["clips"].values())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda folder: (folder / "002.mkv").unlink(), "missing clips: 002"),
        (lambda folder: (folder / "001.mkv").rename(folder / "000.mkv"), "000"),
        (lambda folder: shutil.copy(folder / "001.mkv", folder / "extra.mkv"), "extra"),
        (lambda folder: write_video(folder / "003.mkv", moving(3, frames=5)), "003 has 5 frames instead of 6"),
        (lambda folder: write_video(folder / "003.mkv", moving(3, 6, 64, 120)), "003 is 120x64 instead of 128x64"),
    ],
)
def test_outputs_that_do_not_fit_refuse_the_run(run, tmp_path, clips, capsys, change, complaint):
    folder = outputs(tmp_path, clips)
    change(tmp_path / "made")
    with pytest.raises(SystemExit) as ended:
        run("--pred", folder)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out" / "report.json").exists()
    report, _ = run("--pred", folder, "--allow-partial")
    assert report["partial"]
    assert complaint in " ".join(report["notes"])


@pytest.mark.parametrize("protocol", ["aligned", "official_crop"])
def test_a_model_that_does_nothing_scores_as_bicubic_does(run, protocol):
    report, _ = run("--model", "identity", "--protocol", protocol, metrics="psnr")
    for clip, values in report["methods"]["bicubic"]["clips"].items():  # but for halves, rounded either way
        assert report["methods"]["identity"]["clips"][clip] == pytest.approx(values, abs=1e-4)
    assert report["methods"]["identity"]["speed"]["001"]["frames"] == 6


def test_metrics_of_the_lq_are_left_out_where_the_output_shows_another_part(run):
    for protocol, is_there in (("aligned", True), ("official_crop", False)):
        report, _ = run("--protocol", protocol, metrics="psnr,lq_consistency", out=protocol)
        for values in report["methods"]["bicubic"]["clips"].values():
            assert values["psnr"] is not None
            assert (values["lq_consistency"] is not None) == is_there


def test_a_model_is_run_and_accounted_for(run, tmp_path, clips):
    for name in ("001", "002"):
        clips.pop(name)
        shutil.rmtree(tmp_path / "gt" / name)
        shutil.rmtree(tmp_path / "lq" / name)
    report, _ = run("--model", "tiny", metrics="psnr")
    generator = outline(find_model("tiny", has_gpu=False).generator)
    parameters = sum(parameter.numel() for parameter in generator.parameters())
    assert report["methods"]["tiny"]["facts"]["parameters_m"] == parameters / 1e6
    assert report["methods"]["tiny"]["speed"]["003"]["stages"]["generate"] > 0


def test_scores_of_another_making_of_a_metric_are_not_taken_over(run, monkeypatch):
    first, _ = run(metrics="psnr")
    made = METRICS_BY_NAME["psnr"]
    values = first["methods"]["bicubic"]["clips"]

    def doubled(settings):
        metric = made(settings)
        return FrameMean(metric.facts._replace(weights="other.pth"), lambda *sides: 2 * metric._measure(*sides))

    monkeypatch.setitem(METRICS_BY_NAME, "psnr", doubled)
    metrics_of.cache_clear()
    try:
        second, said = run(metrics="psnr")
    finally:
        metrics_of.cache_clear()
    assert "scored already" not in said
    for clip, scores in second["methods"]["bicubic"]["clips"].items():
        assert scores["psnr"] == pytest.approx(2 * values[clip]["psnr"])
    assert second["metrics"]["psnr"]["weights"] == "other.pth"


def test_a_second_run_takes_over_what_has_not_changed(run, tmp_path, clips):
    folder = outputs(tmp_path, clips)
    first, _ = run("--pred", folder, "--model", "identity")
    made = tmp_path / "out" / "outputs" / "identity" / "001.mkv"
    before = made.stat().st_mtime_ns
    again, said = run("--pred", folder, "--model", "identity")
    assert "9 of 9 clips are scored already" in said
    assert made.stat().st_mtime_ns == before
    assert again["methods"] == first["methods"]
    write_video(tmp_path / "made" / "002.mkv", [255 - frame for frame in clips["002"]])
    third, said = run("--pred", folder, "--model", "identity")
    assert "8 of 9 clips are scored already" in said
    assert third["methods"]["made"]["clips"]["002"]["psnr"] < 20
    assert third["methods"]["made"]["clips"]["001"] == first["methods"]["made"]["clips"]["001"]


def test_processes_change_nothing(run):
    one, _ = run(metrics="psnr,ssim,boundary_jump")
    two, _ = run("--workers", "2", out="two", metrics="psnr,ssim,boundary_jump")
    assert one["methods"] == two["methods"]


@pytest.mark.parametrize(
    ("device", "given", "workers"), [("cpu", [], 7), ("cuda", [], 1), ("cuda", ["--workers", "3"], 3)]
)
def test_a_gpu_takes_one_process_unless_more_are_asked_for(tmp_path, monkeypatch, clips, device, given, workers):
    asked = []

    def score(*_, workers: int, say):
        asked.append(workers)
        raise UserError("enough")

    monkeypatch.setattr(command, "CORES", 7, raising=False)
    monkeypatch.setattr(command, "pick_device", torch.device)
    monkeypatch.setattr(command, "score_methods", score)
    write_folder(tmp_path / "gt" / "001", clips["001"])
    folders = [f"--{name}={tmp_path / name}" for name in ("gt", "out", "cache")]
    with pytest.raises(SystemExit):
        command.main(["--bench", "folder", *folders, "--metrics", "psnr", "--metric-device", device, *given])
    assert asked == [workers]


def test_without_lq_a_frozen_one_is_made_and_named(run, tmp_path):
    report, said = run(lq=False, metrics="psnr")
    assert len(report["lq_hash"]) == 64
    assert report["lq_hash"] in " ".join(report["notes"])
    assert list(report["methods"]) == ["bicubic"]
    again, said = run(lq=False, metrics="psnr", out="again")
    assert "3 of 3 clips are there and sound" in said
    assert again["methods"] == report["methods"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--metrics", "psnt"], "psnt"),
        (["--metrics", "musiq", "--weights-dir", "."], "musiq"),
        (["--metrics", ""], "--metrics"),
        (["--weights-dir", "nowhere"], "nowhere"),
        (["--metric-device", "nowhere"], "nowhere"),
        (["--workers", "0"], "--workers 0"),
        (["--workers", "-1"], "--workers -1"),
        (["--out", "/dev/null/out"], "/dev/null/out"),
        (["--model", "identity", "--model", "nonsense"], "nonsense"),
        (["--model", "identity", "--model", "tiny", "--sweep", "steps=1,2"], "--steps 2"),
        (["--model", "identity", "--model", "tiny", "--window", "4"], "--window 4"),
        (["--model", "a/b=identity", "--model", "a_b=identity"], "a/b and a_b"),
        (["--model", "bicubic=identity"], "bicubic"),
        (["--model", f"{'x' * 300}=identity"], "200 bytes"),
        (["metrics=3"], "metrics"),
        (["layouts=3"], "layouts"),
        (["has_gt=maybe"], "maybe"),
        (["outputs"], "outputs"),
        (["--data-root", "."], "--data-root ."),
        (["--sweep", "steps=1"], "--model"),
        (["--model", "tiny", "--sweep", "steps=a"], "steps=a"),
        (["--model", "tiny", "--sweep", "steps=0.5"], "steps=0.5"),
        (["--model", "tiny", "--sweep", "fidelity=2"], "--fidelity 2"),
        (["--pred", "bicubic=made"], "bicubic"),
        (["--pred", "absent"], "absent"),
        (["scale=nonsense"], "nonsense"),
        (["sclae=2"], "sclae"),
    ],
)
def test_mistakes_are_one_sentence(run, capsys, arguments, complaint):
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert complaint in said
    assert len(said.strip().splitlines()) == 1


def test_only_clips_that_do_not_fit_are_left_out(run, tmp_path, capsys):
    for name in ("001", "003"):
        shutil.rmtree(tmp_path / "gt" / name)
        write_folder(tmp_path / "gt" / name, moving(1, 6, 72, 128))
    with pytest.raises(SystemExit) as ended:
        run(metrics="psnr")
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "clip 001" in said
    assert "clip 003" in said
    report, _ = run("--allow-partial", metrics="psnr")
    assert report["partial"]
    assert list(report["methods"]["bicubic"]["clips"]) == ["002"]
    assert all(name in " ".join(report["notes"]) for name in ("clip 001", "clip 003"))


@pytest.mark.parametrize("damage", ["", "[1]", "{}", "{"])
def test_damaged_records_and_outputs_are_made_again(run, tmp_path, damage):
    first, _ = run("--model", "identity", metrics="psnr")
    out = tmp_path / "out"
    (out / "scores" / "identity" / "001.json").write_text(damage)
    (out / "outputs" / "identity" / "001.json").write_text(damage)
    (out / "outputs" / "identity" / "002.mkv").write_bytes(b"half")
    shutil.rmtree(out / "pictures" / "bicubic")
    again, _ = run("--model", "identity", metrics="psnr")
    assert again["methods"]["identity"]["clips"] == first["methods"]["identity"]["clips"]
    assert (out / "pictures" / "bicubic").is_dir()


def test_very_small_clips_lack_the_metrics_that_need_more(run, tmp_path):
    for side in ("gt", "lq"):
        shutil.rmtree(tmp_path / side)
    clip = moving(1, 3, 12, 16)
    write_folder(tmp_path / "gt" / "a", clip)
    write_folder(tmp_path / "lq" / "a", reduced_by_4(clip))
    report, _ = run(metrics="psnr,warp_error,vmaf")
    values = report["methods"]["bicubic"]["mean"]
    assert values["psnr"] > 10
    assert values["warp_error"] is values["vmaf"] is None
    assert "too small for warp_error" in " ".join(report["notes"])


def test_a_folder_of_one_picture_is_a_clip_that_gets_a_frozen_lq(run, tmp_path):
    shutil.rmtree(tmp_path / "gt")
    write_folder(tmp_path / "gt" / "a", moving(1, 1))
    report, _ = run(lq=False, metrics="psnr")
    assert report["methods"]["bicubic"]["mean"]["psnr"] > 5


def test_a_model_is_described():
    method = command.restored("tiny", (Choice("tiny", device="cpu"), {"seed": 0}), None, [], None, Events(quiet=True))
    assert method.facts["parameters_m"] == pytest.approx(7.4, abs=0.1)
    assert method.facts["name"] == "tiny"
    assert method.facts["sweep"] == {"seed": 0}
