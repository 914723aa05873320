"""The benchmark of restoration: what its report says, its picture, and the command that it alternates with."""

import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from seedvr2.errors import UserError
from seedvr2.models.codec import LatentCodec
from seedvr2.models.released import from_released
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.restore.shot import ShotRestorer

SCRIPTS = Path(__file__).parents[2] / "scripts"
SMALL = ["--models", "tiny", "--device", "cpu", "--dtype", "fp32", "--tflops", "0.1", "--gbs", "10", "--window", "5"]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import bench_infer

    return bench_infer


def run(bench, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["bench_infer.py", *SMALL, *arguments])
    bench.main()


def test_the_report_holds_every_stage_beside_its_floor_and_the_baseline(bench, monkeypatch, tmp_path):
    told = "import json, sys; open(sys.argv[2], 'wb'); print(json.dumps({'decode': int(sys.argv[1])}))"
    command = f'{sys.executable} -c "{told}" {{frames}} {{output}}'.replace("{'", "{{'").replace("])}", "])}}")
    path, picture = tmp_path / "found.json", tmp_path / "scaling.svg"
    sizes = ["--sizes", "32x32", "--frames", "1", "5", "9", "13", "--repeats", "1", "--warmup", "0", "--paths", "plain"]
    run(bench, monkeypatch, *sizes, "--output", str(path), "--plot", str(picture), "--baseline", command)
    found = json.loads(path.read_text())
    assert found["versions"].keys() == {"seedvr2", "torch"}
    assert [(row["frames"], row["stage"]) for row in found["rows"]] == [
        (frames, stage) for frames in (1, 5, 9, 13) for stage in bench.STAGES
    ]
    for row in found["rows"]:
        assert row["spread"][0] <= row["seconds"] <= row["spread"][1]
        assert row["fraction_of_floor"] == pytest.approx(row["floor_seconds"] / row["used"])
    whole = found["rows"][-1]
    assert {"read", "write", "encode", "generate", "decode"} <= whole["by_stage"].keys()
    assert whole["baseline"]["by_stage"] == {"decode": 13.0}
    assert {sentence.split(":")[1].split(",")[0].strip() for sentence in found["scaling"]} == {
        "time is linear in frames",
        "memory is flat beyond one window",
    }
    assert picture.read_text().count("<circle") == 4 * 4 * 2  # points of four stages, time and memory


def test_what_was_measured_before_the_end_is_kept(bench, monkeypatch, tmp_path):
    measure = bench.measure

    def until_killed(case, *arguments):
        if case.frames == 5:
            raise KeyboardInterrupt
        return measure(case, *arguments)

    monkeypatch.setattr(bench, "measure", until_killed)
    settings = ["--sizes", "32x32", "--frames", "1", "5", "--repeats", "1", "--warmup", "0", "--paths", "plain"]
    with pytest.raises(KeyboardInterrupt):
        run(bench, monkeypatch, *settings, "--stages", "generate", "--output", str(tmp_path / "found.json"))
    assert [row["frames"] for row in json.loads((tmp_path / "found.json").read_text())["rows"]] == [1]


def test_placeholders_that_do_not_exist_are_the_users_mistake(bench, tmp_path):
    case = bench.Case("tiny", bench.Size(32, 32), 1)
    with pytest.raises(UserError, match=r"\{input\}, \{output\}"):
        bench.baseline("restore {film}", tmp_path / "in.mp4", tmp_path, case)


def test_windows_that_no_latent_has_are_refused(bench, monkeypatch):
    with pytest.raises(UserError, match="--window 20 is not 4k"):
        run(bench, monkeypatch, "--window", "20")


def test_a_baseline_gets_the_weights_that_are_measured(bench, tmp_path, golden_dit):
    generator, vae = golden_dit("3b"), VideoVAE([8, 8, 8, 8], 1, groups=2)
    prompt = torch.randn(7, 16)
    restorer = ShotRestorer(generator, LatentCodec(vae), prompt=prompt)
    folder = bench.weights_of("3b", Namespace(real=False), restorer, tmp_path)
    state = from_released(generator, torch.load(folder / "seedvr2_ema_3b.pth"))
    for expected, found in ((generator.state_dict(), state), (vae.state_dict(), torch.load(folder / "ema_vae.pth"))):
        assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert torch.equal(torch.load(folder / "pos_emb.pt"), prompt)
    assert (bench.weights_of("tiny", Namespace(real=False), restorer, tmp_path) / "vae.safetensors").is_file()
