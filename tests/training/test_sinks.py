"""Sinks: TensorBoard for real, wandb by a stand-in that writes down what it is told."""

import sys
import types

import numpy as np
import pytest

from seedvr2.errors import UserError
from seedvr2.training.sinks import Console, TensorBoard, Wandb
from seedvr2.training.tracker import Tracker

PICTURE = np.zeros((8, 24, 3), np.uint8)


@pytest.fixture
def wandb(monkeypatch):
    """The package wandb as far as it is used; `told` holds what reached it."""
    told = []

    class Run:
        def define_metric(self, name, step_metric):
            told.append(("axis", name, step_metric))

        def log(self, values):
            told.append(("log", values))

        def finish(self):
            told.append(("finish",))

    def init(**settings):
        if settings["mode"] == "online":
            raise module.errors.Error("no API key")
        told.append(("init", settings))
        return Run()

    module = types.ModuleType("wandb")
    module.told, module.init, module.Image = told, init, lambda picture: ("image", picture.shape)
    module.errors = types.SimpleNamespace(Error=type("Error", (Exception,), {}))
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_tensorboard_shows_numbers_by_path_and_pictures(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    tracker = Tracker(tmp_path, sinks=[TensorBoard])
    tracker.log("apt", 3, 9, {"d/r1": 0.5}, {"speed/tokens_per_second": 100.0})
    tracker.show("apt", 3, PICTURE)
    tracker.close()
    events = accumulator(str(tmp_path / "tensorboard")).Reload()
    assert {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]} == {
        "apt/d/r1": [(3, 0.5)],
        "apt/speed/tokens_per_second": [(3, 100.0)],
    }
    (image,) = events.Images("apt/validation")
    assert (image.step, image.height, image.width) == (3, 8, 24)


def test_wandb_counts_the_steps_of_every_stage_by_itself(tmp_path, wandb):
    tracker = Tracker(tmp_path, sinks=[lambda folder: Wandb(folder, project="p", mode="offline")])
    tracker.log("base", 7, 9, {"loss": 1.0})
    tracker.log("apt", 1, 9, {"d/r1": 0.5})
    tracker.show("apt", 1, PICTURE)
    tracker.close()
    assert wandb.told[0][1]["mode"] == "offline"
    assert wandb.told[1:] == [
        ("axis", "base/*", "base/step"),
        ("log", {"base/step": 7, "base/loss": 1.0}),
        ("axis", "apt/*", "apt/step"),
        ("log", {"apt/step": 1, "apt/d/r1": 0.5}),
        ("log", {"apt/step": 1, "apt/validation": ("image", (8, 24, 3))}),
        ("finish",),
    ]


def test_a_continued_run_is_the_same_wandb_run_and_another_folder_another(tmp_path, wandb):
    for name in ("a/run", "a/run", "b/run"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        Wandb(tmp_path / name, project="p")
    first, again, other = (settings["id"] for _, settings in wandb.told)
    assert first == again != other


def test_a_wandb_that_cannot_start_or_an_unknown_mode_is_one_sentence(tmp_path, wandb):
    with pytest.raises(UserError, match=r"wandb cannot start \(no API key\): .*wandb_offline"):
        Wandb(tmp_path, project="p", mode="online")
    with pytest.raises(UserError, match="mode is 'ofline'"):
        Wandb(tmp_path, project="p", mode="ofline")


def test_a_missing_package_says_what_to_install(tmp_path, monkeypatch):
    for name, sink in (("wandb", lambda: Wandb(tmp_path, project="p")), ("torch.utils.tensorboard", None)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UserError, match=r"pip install 'seedvr2\[track\]'"):
            (sink or (lambda: TensorBoard(tmp_path)))()


def test_console_leaves_speed_and_memory_to_others(capsys):
    Console().log({"stage": "apt", "step": 1, "apt/d/r1": 0.5, "apt/speed/mfu": 0.4, "apt/memory/peak_gib": 9.0}, 2)
    line = capsys.readouterr().out
    assert "d/r1 0.5" in line
    assert "mfu" not in line
    assert "peak" not in line


def test_a_disk_that_refuses_a_record_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=r"metrics\.jsonl cannot be written"):
        Tracker(tmp_path, every=1).log("base", 1, 1, {"loss": 1.0})
