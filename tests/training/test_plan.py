"""The command `plan=true`: numbers without allocation, refusals with advice."""

import dataclasses
import subprocess
import sys

import pytest

from seedvr2 import config, train
from seedvr2.errors import UserError
from seedvr2.parallel.mesh import Parallelism
from seedvr2.training.plan.checks import check
from seedvr2.training.plan.estimate import estimate
from seedvr2.training.plan.outline import outline
from seedvr2.training.plan.report import plan

DEBUG = ["+experiment=debug", "run.dir=unused"]


def stages_of(*overrides: str):
    settings = config.plain(config.load("train", [*DEBUG, *overrides]), missing="none")
    return train.build(settings)[1], config.build(settings["gpu"])


def by_name(stages, name: str):
    return next(stage for stage in stages if stage.name == name)


def test_the_command_prints_every_stage_and_writes_nothing(tmp_path, capsys):
    train.main(["+experiment=debug", "plan=true", f"run.dir={tmp_path}/run"])
    out = capsys.readouterr().out
    for name in ("vae", "base", "distill_4to2", "distill_2to1", "apt"):
        assert f"stage {name}:" in out
    for cause in ("fp32 weights", "optimizer", "EMA", "gradients", "activations", "all-gather", "all-to-all"):
        assert cause in out
    assert not (tmp_path / "run").exists()


def test_missing_values_do_not_matter_but_wrong_settings_end_with_code_2():
    command = [sys.executable, "-m", "seedvr2.train", "+experiment=debug", "plan=true", "parallel.sequence=3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "sequence is 3" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "world", "message"),
    [
        ({"sequence": 3}, 3, "does not divide the 8 heads"),
        ({"shard": 2, "replicate": 2}, 3, "4 ranks, but 3 run"),
        ({"sequence": 2}, 3, "does not divide the 3 ranks"),
        ({}, 8, "cannot be shared by 8 data ranks"),
    ],
)
def test_what_cannot_work_is_refused(settings, world, message):
    stages, _ = stages_of()
    with pytest.raises(UserError, match=message):
        check([by_name(stages, "base")], Parallelism(**settings), world)


def test_what_works_passes():
    stages, _ = stages_of()
    check(stages, Parallelism(), 1)
    check(stages, Parallelism(), 2)
    check(stages, Parallelism(sequence=2), 4)


def test_lengths_that_the_vae_does_not_take_are_refused():
    shape = "{_target_: seedvr2.data.shapes.Shape, frames: 6, height: 64, width: 64, batch: 2}"
    stages, _ = stages_of(f"data.shapes=[{shape}]")
    with pytest.raises(UserError, match="use 5 or 9"):
        check(stages, Parallelism(), 1)


def test_what_does_not_fit_is_refused_with_settings_that_do():
    stages, gpu = stages_of()
    stage = by_name(stages, "apt")
    planned = outline(stage)

    def needs(recompute: str) -> float:
        settings = Parallelism(recompute=recompute)
        return max(estimate(planned, one, settings, 1, gpu).memory.total for one in planned.shapes)

    between = (needs("none") + needs("full")) / 2
    small = dataclasses.replace(gpu, memory=between / 2**30, reserve=0.0)
    with pytest.raises(UserError, match=r"stage apt needs .*: use parallel\.recompute=") as refused:
        list(plan([stage], Parallelism(), small))
    kind = str(refused.value).split("parallel.recompute=")[1].split()[0]
    assert needs(kind) <= between < needs("none")
    assert list(plan([stage], Parallelism(recompute=kind), small))


def test_what_fits_in_no_way_says_so():
    stages, gpu = stages_of()
    with pytest.raises(UserError, match="a smaller model or a larger GPU"):
        list(plan([by_name(stages, "base")], Parallelism(), dataclasses.replace(gpu, memory=1e-6, reserve=0.0)))


def test_shards_and_peers_divide_what_they_share():
    stages, gpu = stages_of()
    planned = outline(by_name(stages, "apt"))
    one, four, peers = (
        estimate(planned, planned.shapes[-1], settings, world, gpu)
        for settings, world in ((Parallelism(), 1), (Parallelism(sequence=2), 4), (Parallelism(sequence=2), 2))
    )
    # prompts are whole on every rank
    assert one.memory.lasting["optimizer"] == pytest.approx(4 * four.memory.lasting["optimizer"])
    assert one.traffic == type(one.traffic)()
    assert min(peers.traffic.exchange, peers.traffic.gather, peers.traffic.scatter) > 0
    assert four.memory.total < one.memory.total


def test_replicas_reduce_gradients_and_the_last_micro_batch_may_do_it_alone():
    stages, gpu = stages_of()
    planned = outline(by_name(stages, "base"))
    planned = planned._replace(stage=dataclasses.replace(planned.stage, accumulate=2))
    each, last = (
        estimate(planned, planned.shapes[0], Parallelism(shard=1, replicate=2, sync=sync), 2, gpu)
        for sync in ("every", "last")
    )
    assert each.traffic.reduce > last.traffic.reduce > 0
    assert each.traffic.scatter == 0
