"""The benchmark of degraded pairs: both pipelines make the same data, and the report says what was measured and how."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_data.py"


def run(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def test_the_report_compares_pipelines_that_make_the_same_data(tmp_path):
    path = tmp_path / "report.json"
    arguments = ["--samples", "2", "--frames", "3", "--height", "64", "--width", "96", "--output", str(path)]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    assert found["command"].endswith(" ".join(arguments))
    assert found["clip"] == [3, 64, 96]
    assert len(found["rows"]) == 2
    for row in found["rows"]:
        ours, plain = row["ours"], row["plain"]
        assert plain["hq_mean"] == pytest.approx(ours["hq_mean"], abs=1e-3)
        assert plain["lq_mean"] == pytest.approx(ours["lq_mean"], abs=0.05)
        assert plain["psnr"] == pytest.approx(ours["psnr"], abs=1.5)
        assert min(plain["seconds"].values()) > 0
        assert {"decode", "crop", "Blur", "Noise", "Jpeg", "VideoCodec", "upsampling"} <= set(ours["parts"])
        assert sum(ours["parts"].values()) <= ours["seconds"]["wall"]
    for clock in ("wall", "cpu"):
        assert set(found[clock]) == {"ours", "plain", "plain_keeping_memory"}
        assert found[clock]["plain"]["ratio_of_rates"] == pytest.approx(
            found[clock]["ours"]["pairs_per_second"] / found[clock]["plain"]["pairs_per_second"]
        )
    assert sum(found["our_mean_seconds"].values()) == pytest.approx(2 / found["wall"]["ours"]["pairs_per_second"] / 2)


def test_what_cannot_be_measured_is_refused():
    done = run("--samples", "0")
    assert done.returncode == 2
    assert "--samples" in done.stderr
    assert "Traceback" not in done.stderr
