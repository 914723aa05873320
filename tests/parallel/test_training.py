"""A stage of each kind trained on four ranks gives the metrics and weights of one process for the same global batches.

Each stage starts from the single process's exports, so that rounding does not add up along the chain. Twenty steps of
each: scripts/compare_ranks.py.
"""

import json
import shutil

import pytest
from safetensors.torch import load_file

from tests.parallel.test_launch import TRAINING
from tests.parallel.training import interrupted, left_over, run

BEFORE = {"distill_2to1": "base", "apt": "distill_2to1"}
MORE = {"base": ["stages.base.accumulate=2", "parallel.sync=last"], "apt": ["stages.apt.accumulate=2"]}
COUNTS = {"vae": 3, "base": 4, "distill": 2, "apt": 2}
ARGUMENTS = [
    "+experiment=debug",
    "run.threads=1",
    "track.terms_every=2",
    "data.shapes.1.batch=4",
    "stages.distill.from_steps=2",
    "stages.vae.objective.adversarial_start=0.6",  # the last of three
    *(f"stages.{name}.iterations={count}" for name, count in COUNTS.items()),
    *(f"stages.{name}.save_every={2 if name == 'base' else 0}" for name in COUNTS),
    *(f"stages.{name}.preview_every={count}" for name, count in COUNTS.items()),
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run of one process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    run([*ARGUMENTS, f"run.dir={folder}"])
    return folder


def records(folder, stage):
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record for record in found if record["stage"] == stage]


@pytest.mark.parametrize("stage", ["vae", "base", "distill_2to1", "apt"])
def test_a_stage_on_four_ranks_equals_one_process(ranks, alone, tmp_path, stage):
    folder = tmp_path / "run"
    shutil.copytree(alone, folder)
    shutil.rmtree(folder / stage)
    (folder / "metrics.jsonl").unlink()
    printed = ranks(4)(run, [*ARGUMENTS, f"run.dir={folder}", "parallel=fsdp_sp2", *MORE.get(stage, [])])
    assert f"stage {stage}:" in printed[0]
    assert not any(printed[1:])
    ours, theirs = records(folder, stage), records(alone, stage)
    assert [record["step"] for record in ours] == [record["step"] for record in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() == other.keys()
        for name in (name for name in other if name.startswith(f"{stage}/")):
            share = 5e-2 if "/r1" in name or "/r2" in name or "margin" in name else 1e-3 if "norm" in name else 1e-4
            assert mine[name] == pytest.approx(other[name], rel=share, abs=1e-6), name
    for path in (alone / stage / "final").iterdir():
        mine, other = load_file(folder / stage / "final" / path.name), load_file(path)
        assert mine.keys() == other.keys()
        moved = max(float((mine[key] - other[key]).abs().max()) for key in other)
        assert moved < 2e-3, f"{path.name}: {moved}"
        if path.name == "generator.safetensors" and stage in BEFORE:
            begun = load_file(alone / BEFORE[stage] / "final" / path.name)
            assert 0 < moved < 0.05 * max(float((other[key] - begun[key]).abs().max()) for key in other)


def test_a_signal_to_one_rank_stops_all_after_the_same_step(ranks, alone, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(alone, folder)
    shutil.rmtree(folder / "base")
    again = [*ARGUMENTS, f"run.dir={folder}", "parallel=fsdp_sp2"]
    stopped = ranks(2)(interrupted, again, 1, 3)
    assert [code for code, _ in stopped] == [0] * 2
    assert "stopped in stage base after step 3: the same command continues" in stopped[0][1]
    assert [path.name for path in (folder / "base/checkpoints").iterdir()] == ["00000002", "00000003"]
    assert "stage base: 4 iterations, continuing at 3" in ranks(2)(run, again)[0]
    assert (folder / "base/final").is_dir()


def test_the_networks_of_a_stage_are_gone_when_the_next_one_builds_its_own(ranks, tmp_path):
    assert ranks(2)(left_over, [*TRAINING, f"run.dir={tmp_path / 'run'}"]) == [[], []]
