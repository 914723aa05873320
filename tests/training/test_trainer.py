"""The loop: cadence, resuming, skipping, exporting — with a stand-in objective that the trainer knows nothing of."""

import contextlib
import functools
import json
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from seedvr2.data.loader import Failures
from seedvr2.errors import UserError
from seedvr2.objectives.objective import Exported
from seedvr2.optim.trainee import Trainee
from seedvr2.training.run import Run
from seedvr2.training.stage import Stage
from seedvr2.training.tracker import Tracker
from seedvr2.training.trainer import Interrupted, Trainer


class Line(nn.Linear):
    """A network of one number."""

    def __init__(self):
        super().__init__(1, 1, bias=False)


class Fit:
    """Move a number towards the data; remembers every step in `log`."""

    log: ClassVar[list] = []
    made: ClassVar[list] = []

    def __init__(self, *, build, weights, iterations, fail_at=None):
        self.recipe = functools.partial(Line)
        self.recipe.config = {"_target_": "seedvr2.models.layers.RMSNorm", "_partial_": True}
        self.start = weights.find("generator")
        self.network = build("generator", self.recipe, self.start)
        optimizer = functools.partial(torch.optim.Adam, lr=0.1)
        self.student = Trainee({"generator": self.network}, optimizer=optimizer, total=iterations, ema=0.9)
        self.stateful = {"student": self.student}
        self.averaged = self.student.averaged
        self.fail_at, self.first = fail_at, float(self.network.weight)
        Fit.made.append(self)

    def step(self, batches):
        """Fit the mean of the micro-batches."""
        if self.fail_at is not None and self.student.step == self.fail_at:
            raise RuntimeError("power cut")
        Fit.log.append((self.student.step, [batch.item() for batch in batches]))
        return self.student.update(batches, lambda batch: (((self.network.weight - batch) ** 2).sum(), {}))

    def preview(self, batch):
        """Echo the batch."""
        return batch

    def export(self):
        """The network."""
        return {"generator": Exported(self.network, self.recipe)}


class Counts:
    """Batches that are a function of stage and step; previews are grey frames."""

    def __init__(self, *, build, weights, seed, stage, memory):
        self.offset = len(stage)

    def batches(self, start, stop, accumulate):
        """One number per micro-batch."""
        for step in range(start, stop):
            yield [torch.tensor(float(self.offset + step + i / accumulate)) for i in range(accumulate)]

    def preview(self):
        """One clip."""
        clip = torch.zeros(1, 3, 16, 16)
        return [clip + 0.5], [(clip, clip)]

    def frames(self, results):
        """Results are frames already."""
        return results

    failures = Failures(0.0)

    def grids(self, batch):
        """One clip without tokens."""
        return [()]


@pytest.fixture
def make(tmp_path):
    """Function stages, folder -> trainer and its run."""

    def build(stages, name="run"):
        Fit.log = []
        run = Run(dir=str(tmp_path / name), device="cpu")
        run.folder.mkdir(exist_ok=True)
        return Trainer(run, stages, Tracker(run.folder, every=1)), run

    return build


def stage(name="first", iterations=6, fail_at=None, **settings):
    """A stage of the stand-in objective."""
    return Stage(name, functools.partial(Fit, fail_at=fail_at), Counts, iterations, **{"save_every": 2, **settings})


def records(run):
    """All metrics of a run."""
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


def test_a_crashed_run_ends_with_the_weights_and_metrics_of_an_unbroken_one(make):
    whole, run = make([stage()], "whole")
    whole.fit()
    broken, other = make([stage(fail_at=5)], "broken")
    with pytest.raises(RuntimeError, match="power cut"):
        broken.fit()
    assert len(records(other)) == 5
    again, other = make([stage()], "broken")
    again.fit()
    assert Fit.log[0][0] == 4  # the last checkpoint
    file = "first/final/generator.safetensors"
    assert (run.folder / file).read_bytes() == (other.folder / file).read_bytes()
    assert [{**r, "time": 0} for r in records(run)] == [{**r, "time": 0} for r in records(other)]


def test_an_interrupt_saves_at_once_and_the_same_command_continues(make):
    trainer, run = make([stage(save_every=0)])
    real = trainer.tracker.log

    def log(name, step, *rest):
        real(name, step, *rest)
        run.interrupted = step == 3

    trainer.tracker.log = log
    with pytest.raises(Interrupted, match="after step 3"):
        trainer.fit()
    trainer, run = make([stage(save_every=0)])
    trainer.fit()
    assert [step for step, _ in Fit.log] == [3, 4, 5]


def test_finished_stages_are_skipped_and_hand_over_their_export(make):
    make([stage("first")])[0].fit()
    trainer, run = make([stage("first"), stage("second")])
    trainer.fit()
    assert len(Fit.log) == 6
    assert (run.folder / "second/final/generator.safetensors").is_file()
    finals = [run.folder / name / "final/generator.safetensors" for name in ("first", "second")]
    assert Fit.made[-1].start == finals[0]
    assert Fit.made[-1].first == float(load_file(finals[0])["weight"])


def test_an_export_holds_the_averaged_weights(make):
    trainer, run = make([stage()])
    trainer.fit()
    exported = load_file(run.folder / "first/final/generator.safetensors")["weight"]
    student = Fit.made[-1].student
    assert torch.equal(exported, student.ema.average["generator.weight"])
    assert not torch.equal(exported, Fit.made[-1].network.weight)


def test_micro_batches_reach_the_objective_together(make):
    make([stage(accumulate=3, iterations=1)])[0].fit()
    assert [len(batches) for _, batches in Fit.log] == [3]


def test_previews_are_scored_and_drawn_on_schedule(make):
    trainer, run = make([stage(preview_every=4)])
    trainer.fit()
    scored = [record["step"] for record in records(run) if "first/validation/psnr" in record]
    assert scored == [4, 6]
    assert sorted(path.name for path in (run.folder / "first/samples").iterdir()) == ["00000004.png", "00000006.png"]


def test_what_is_measured_between_records_is_recorded_at_once(make):
    trainer, run = make([stage(preview_every=2, iterations=5)])
    trainer.tracker.every = 3
    trainer.fit()
    assert [record["step"] for record in records(run)] == [1, 2, 3, 4, 5]


def test_speed_is_recorded_apart_from_what_is_learned(make):
    trainer, run = make([stage()])
    trainer.fit()
    lines = [json.loads(line) for line in (run.folder / "speed.jsonl").read_text().splitlines()]
    assert [record["step"] for record in lines] == [1, 2, 3, 4, 5, 6]
    assert all(record["first/speed/clips_per_second"] > 0 for record in lines)
    assert not any("/speed/" in name or "/memory/" in name for record in records(run) for name in record)


def test_diverging_training_keeps_the_checkpoints_from_before_and_stops_with_one_sentence(make, monkeypatch):
    trainer, run = make([stage(iterations=40, save_every=2)])
    usual = Fit.step

    def step(self, batches):
        if self.student.step < 5:
            return usual(self, batches)
        return self.student.update(batches, lambda _: (self.network.weight.sum() * float("nan"), {}))

    monkeypatch.setattr(Fit, "step", step)
    told = "training diverged: 11 updates in a row .* checkpoint 4, which is from before"
    for _ in range(2):  # the same command again
        with pytest.raises(UserError, match=told), contextlib.redirect_stdout(None):
            trainer.fit()
        assert [path.name for path in sorted((run.folder / "first/checkpoints").iterdir())] == ["00000002", "00000004"]


def test_a_checkpoint_due_at_a_skipped_step_is_made_up_for(make, monkeypatch):
    trainer, run = make([stage(iterations=6, save_every=3)])
    usual = Fit.step

    def step(self, batches):
        if self.student.step != 2:
            return usual(self, batches)
        return self.student.update(batches, lambda _: (self.network.weight.sum() * float("nan"), {}))

    monkeypatch.setattr(Fit, "step", step)
    with contextlib.redirect_stdout(None):
        trainer.fit()
    assert [path.name for path in sorted((run.folder / "first/checkpoints").iterdir())] == ["00000004", "00000006"]


def test_the_last_step_is_saved_before_the_export_which_may_fail(make, monkeypatch):
    trainer, run = make([stage(iterations=5, save_every=3)])

    def export(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seedvr2.training.trainer.export", export)
    with pytest.raises(UserError, match="No space left on device"):
        trainer.fit()
    assert [path.name for path in sorted((run.folder / "first/checkpoints").iterdir())] == ["00000003", "00000005"]
