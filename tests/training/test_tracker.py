"""Records of metrics: when they are due, where they go, and how they are rewound."""

import json

import pytest
import torch

from seedvr2.errors import UserError
from seedvr2.training.sinks import Console, JsonLines
from seedvr2.training.tracker import Tracker


def records(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_records_are_flat_and_due_at_the_ends_and_between(tmp_path):
    tracker = Tracker(tmp_path, every=10)
    assert [step for step in range(1, 26) if tracker.due(step, 25)] == [1, 10, 20, 25]
    tracker.log("base", 10, 25, {"loss": torch.tensor(0.5), "rate": 2})
    (record,) = records(tmp_path / "metrics.jsonl")
    assert record.pop("time") > 0
    assert record == {"stage": "base", "step": 10, "base/loss": 0.5, "base/rate": 2.0}


def test_rewinding_drops_what_will_be_run_again_and_a_line_cut_off(tmp_path):
    tracker = Tracker(tmp_path)
    for stage, step in (("vae", 1), ("vae", 9), ("base", 5), ("base", 6), ("base", 7)):
        tracker.log(stage, step, 9, {"loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "base", "st')
    tracker.lines.rewind("base", 5)
    kept = [(record["stage"], record["step"]) for record in records(tmp_path / "metrics.jsonl")]
    assert kept == [("vae", 1), ("vae", 9), ("base", 5)]
    tracker.log("base", 6, 9, {"loss": 2.0})
    assert records(tmp_path / "metrics.jsonl")[-1]["base/loss"] == 2.0
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_speed_goes_to_a_file_of_its_own_and_to_all_other_sinks(tmp_path):
    seen = []

    class Sink:
        def log(self, record, total):
            seen.append(record)

    tracker = Tracker(tmp_path, sinks=[Sink()])
    for step in (1, 2):
        tracker.log("apt", step, 9, {"d/r1": 0.5}, {"speed/clips_per_second": 4.0})
    tracker.rewind("apt", 1)
    expected = {"metrics.jsonl": "apt/d/r1", "speed.jsonl": "apt/speed/clips_per_second"}
    for name, key in expected.items():
        (record,) = records(tmp_path / name)
        assert set(record) == {"stage", "step", "time", key}
    assert set(expected.values()) < set(seen[0])


def test_ranks_average_once_per_record_and_only_the_main_one_writes(tmp_path):
    calls = []

    def average(values):
        calls.append(values.tolist())
        return values * 2

    for main in (False, True):
        tracker = Tracker(tmp_path, sinks=[refuse] if not main else [], main=main, average=average)
        tracker.log("apt", 1, 9, {"loss": 1.0}, {"speed/mfu": 0.25})
        tracker.rewind("apt", 1)
        tracker.show("apt", 1, None)
        assert (tmp_path / "metrics.jsonl").exists() == main
    assert calls == [[1.0, 0.25]] * 2
    assert records(tmp_path / "speed.jsonl")[0]["apt/speed/mfu"] == 0.5


def refuse(folder):
    raise AssertionError("a rank that does not write made a sink")


def test_terms_are_measured_at_their_own_pace(tmp_path):
    assert [step for step in range(1, 10) if Tracker(tmp_path, terms_every=4).terms_due(step)] == [4, 8]
    assert not Tracker(tmp_path, terms_every=0).terms_due(0)


@pytest.mark.parametrize(("setting", "value"), [("terms_every", -1), ("peak", 0), ("peak", -2.0)])
def test_settings_without_sense_are_refused(tmp_path, setting, value):
    with pytest.raises(UserError, match=rf"track\.{setting} is {value}"):
        Tracker(tmp_path, **{setting: value})


def test_records_at_every_zeroth_step_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"track\.every is 0"):
        Tracker(tmp_path, every=0)


def test_rewinding_without_a_file_does_nothing(tmp_path):
    JsonLines(tmp_path / "metrics.jsonl").rewind("base", 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_recorded_as_null(tmp_path, value):
    Tracker(tmp_path).log("base", 3, 9, {"loss": value})
    assert records(tmp_path / "metrics.jsonl")[0]["base/loss"] is None


def test_sinks_may_need_the_folder(tmp_path):
    seen = []

    class Sink:
        def log(self, record, total):
            seen.append((record["step"], total))

    tracker = Tracker(tmp_path, sinks=[lambda folder: seen.append(folder) or Sink(), Sink()])
    tracker.log("base", 1, 4, {})
    assert seen == [tmp_path, (1, 4), (1, 4)]


def test_console_shows_metrics_without_the_stage_in_front(capsys):
    console = Console()
    for step in (1, 2):
        console.log({"stage": "base", "step": step, "base/loss": 0.25}, 4)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("[base] 1/4  loss 0.25")
    assert "ETA ?" in first
    assert "ETA 0:00:0" in second
