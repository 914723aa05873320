"""The four reports hold what was measured, in order, and machines can read them back."""

import csv
import json
import math

import numpy as np
import pytest

from seedvr2.errors import UserError
from seedvr2.evaluation.report import write_reports
from seedvr2.evaluation.results import completed, ranking
from tests.evaluation.report_samples import HARMFUL, made_up, png, swept


def written(results, folder) -> dict[str, str]:
    paths = write_reports(results, folder)
    assert [path.name for path in paths] == ["report.json", "report.csv", "report.md", "report.html"]
    assert sorted(folder.iterdir()) == sorted(paths)
    return {path.suffix: path.read_text(encoding="utf-8") for path in paths}


def strictly(text: str) -> dict:
    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_is_strict_and_gives_the_values_back(tmp_path):
    results = made_up()
    results["methods"]["zebra"]["clips"]["a"]["lpips"] = np.float32(0.25)
    results["hardware"]["memory"] = math.nan
    found = strictly(written(results, tmp_path)[".json"])
    assert list(found["methods"]) == list(results["methods"])
    assert found["methods"]["zebra"]["clips"]["b"] == {"psnr": None, "lpips": 0.5, "jump": 1.0, "empty": None}
    assert found["methods"]["zebra"]["clips"]["a"]["lpips"] == 0.25
    assert found["methods"][HARMFUL]["clips"] == results["methods"][HARMFUL]["clips"]
    assert found["hardware"]["memory"] is None
    for same in ("bench", "metrics", "skipped", "versions", "command", "lq_hash", "offsets"):
        assert found[same] == results[same]


def test_means_are_over_clips_without_the_infinite_ones(tmp_path):
    found = strictly(written(made_up(), tmp_path)[".json"])["methods"]["zebra"]
    assert found["mean"] == {"psnr": 21.5, "lpips": pytest.approx(0.51), "jump": 1.0, "empty": None}
    assert found["left_out"] == {"psnr": 1, "empty": 3}
    low, high = found["interval"]["psnr"]
    assert 21 <= low < 21.5 < high <= 22
    assert found["interval"]["empty"] is None


def test_infinities_left_out_are_spoken_of(tmp_path):
    results = made_up()
    reports = written(results, tmp_path)
    assert all("psnr of zebra: 1 of 3 clips left out" in reports[ending] for ending in (".md", ".html"))
    for values in results["methods"]["bicubic"]["clips"].values():
        values["psnr"] = math.inf
    assert "psnr of bicubic: 3 of 3 clips left out" in written(results, tmp_path)[".md"]
    reports = written(made_up(clips=("b", "a")) | {"methods": {"x": {"clips": {"b": {"psnr": 20.0}}}}}, tmp_path)
    assert not any("left out of the mean" in reports[ending] for ending in (".md", ".html"))


def test_methods_are_compared_with_the_first_on_common_clips():
    results = made_up()
    del results["methods"]["bicubic"]["clips"]["a"]
    found = {(c["method"], c["metric"]): c for c in completed(results)["comparisons"]}
    assert found.keys() == {(method, metric) for method in ("bicubic", HARMFUL) for metric in ("psnr", "lpips")}
    psnr = found["bicubic", "psnr"]
    assert (psnr["against"], psnr["clips"], psnr["wins"], psnr["ties"], psnr["losses"]) == ("zebra", 2, 1, 0, 1)
    assert psnr["difference"] == pytest.approx(2)
    lpips = found[HARMFUL, "lpips"]
    assert (lpips["clips"], lpips["wins"], lpips["losses"], lpips["p"]) == (3, 3, 0, 0.25)
    assert lpips["difference"] == pytest.approx(-0.2)


def test_csv_has_a_line_per_method_and_clip_and_means(tmp_path):
    results = made_up()
    lines = list(csv.DictReader(written(results, tmp_path)[".csv"].splitlines()))
    assert [(line["method"], line["row"], line["clip"]) for line in lines] == [
        row
        for m in results["methods"]
        for row in [(m, "mean", ""), *((m, "clip", clip) for clip in ("b", "a", HARMFUL))]
    ]
    assert float(lines[0]["psnr"]) == 21.5
    assert float(lines[1]["psnr"]) == math.inf
    assert lines[1]["empty"] == ""
    values = results["methods"][HARMFUL]["clips"][HARMFUL]
    assert all(float(lines[-1][name]) == values[name] for name in ("psnr", "lpips", "jump"))
    assert [float(lines[0][name]) for name in ("seconds", "peak_mb", "frames")] == [3, 102, 12]


def test_markdown_tables_are_whole_and_harmless(tmp_path):
    text = written(made_up(), tmp_path)[".md"]
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) > 8
    for block in blocks:
        pipes = {line.replace("\\|", "").count("|") for line in block}
        assert len(pipes) == 1
    assert "<script" not in text
    assert "**25.00**" in text  # the last method's mean PSNR, the best
    assert "**21.50**" not in text
    assert "data:image" not in text


def test_worst_clips_follow_the_metric_and_the_method():
    results = made_up()
    assert ranking(results) == ("lpips", "zebra", [HARMFUL, "a", "b"])  # the anchor is never the subject
    assert ranking(results | {"worst_by": "psnr", "subject": "bicubic"}) == ("psnr", "bicubic", ["b", "a", HARMFUL])
    results["methods"] = {"x": {"clips": {"c": {"jump": 1.0}}}}
    assert ranking(results) == ("", "", [])


@pytest.mark.parametrize("clips", [("only",), ("one", "two")])
@pytest.mark.parametrize("methods", [("alone",), ("bicubic", "other")])
def test_small_runs_are_reported(tmp_path, methods, clips):
    reports = written(made_up(methods, clips), tmp_path)
    found = strictly(reports[".json"])
    assert len(found["comparisons"]) == (0 if len(methods) == 1 else 2)
    assert ("Paired comparison" in reports[".md"]) == (len(methods) > 1)


def test_methods_alone_are_enough_for_a_report(tmp_path):
    reports = written({"methods": {"x": {"clips": {"c": {"odd": 1.5}}}, "y": {"clips": {}}}}, tmp_path)
    assert strictly(reports[".json"])["methods"]["y"]["mean"] == {"odd": None}
    assert "1.500" in reports[".md"]


def test_embedded_pictures_stay_out_of_json_and_paths_stay_in(tmp_path):
    results = made_up(clips=("c",))
    place = tmp_path / "crop.png"
    place.write_bytes(png(7))
    results["pictures"]["c"]["methods"] = {"x": png(1), "y": str(place), "z": place}
    found = strictly(written(results, tmp_path / "out")[".json"])
    assert found["pictures"]["c"]["methods"] == {"x": None, "y": str(place), "z": str(place)}


def test_names_that_are_no_text_do_not_stop_a_report(tmp_path):
    reports = written(made_up(clips=("bad\udcff", "c")), tmp_path)
    assert "bad\\udcff" in reports[".csv"]
    assert "bad\udcff" in strictly(reports[".json"])["methods"]["zebra"]["clips"]


def test_reports_replace_older_ones_and_an_empty_run_is_refused(tmp_path):
    written(made_up(), tmp_path)
    assert "slow" in written(swept(), tmp_path)[".json"]
    with pytest.raises(UserError, match="no methods"):
        write_reports({"methods": {}}, tmp_path)
