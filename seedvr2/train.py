"""`python -m seedvr2.train +experiment=...`: train the stages of an experiment, or continue where it stopped."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from seedvr2 import config
from seedvr2.errors import Parser, UserError, main_guard
from seedvr2.parallel.crew import speaks
from seedvr2.parallel.ending import ends_at_once
from seedvr2.parallel.runtime import Runtime
from seedvr2.parallel.watch import Watch
from seedvr2.training.catalogue import Catalogue
from seedvr2.training.plan.checks import check
from seedvr2.training.plan.report import plan
from seedvr2.training.tracker import Tracker
from seedvr2.training.trainer import Interrupted, Trainer

USED = {"run", "stages", "track", "parallel", "plan", "gpu"}  # built here; the other keys are parts that these refer to


def main(arguments: Sequence[str] | None = None) -> None:
    """Compose the config, check all of it, train."""
    parser = Parser(
        prog="seedvr2.train",
        description=__doc__,
        epilog="example: python -m seedvr2.train +experiment=debug run.dir=runs/debug",
    )
    parser.add_argument(
        "overrides", nargs="*", help="Hydra overrides: +experiment=NAME, run.dir=DIR, group=option, key=value"
    )
    parser.add_argument(
        "--config-dir", type=Path, help="a further folder with configs of your own, laid out like configs/"
    )
    parser.add_argument("--cfg", choices=["job"], help="print the composed configuration and stop")
    with ends_at_once(), main_guard("seedvr2.train", speaks=speaks()):
        options = parser.parse_intermixed_args(arguments)
        composed = config.load("train", options.overrides, extra=options.config_dir)
        planning = composed.get("plan", False)
        if not isinstance(planning, bool):
            raise UserError(f"plan is {planning!r}: use true or false")
        settings = config.plain(composed, missing="not-given" if planning else None)
        if options.cfg:
            print(yaml.safe_dump(settings, sort_keys=False), end="")
            return
        run, stages, track, parallel = build(settings)
        if planning:
            gpu = config.build(settings["gpu"], "gpu")
            for line in plan(stages, parallel, gpu, half=settings["run"]["precision"] != "fp32"):
                print(line, flush=True)
            return
        weights = Catalogue(run.weights)
        runtime = Runtime.start(parallel, cpu=run.device.type == "cpu")
        check(stages, parallel, runtime.world)
        run.start(settings, main=runtime.main)
        runtime.wait()
        tracker = Tracker(run.folder, **track, main=runtime.main, average=runtime.average)
        watch = Watch(runtime, timeout=60 * parallel.timeout)
        trainer = Trainer(run, stages, tracker, weights, runtime, watch)
        stopped = None
        try:
            trainer.fit()
        except Interrupted as stop:
            stopped = stop
        finally:
            watch.stop()
        trainer.say(str(stopped) if stopped else f"finished: {run.folder}")
        runtime.stop()  # all ranks are here; after any other exception it may be this one alone
        if stopped:
            sys.exit(0 if stopped.number == signal.SIGTERM else 130)


def build(settings: dict):
    """Run, stages, tracker arguments and parallelism of a plain config; raises UserError for keys nothing takes."""
    for name, part in settings.items():
        if name not in USED - {"run", "parallel", "gpu"} and not (isinstance(part, dict) and "_target_" in part):
            raise UserError(
                f"configuration: {name!r} is not a part of the training config: it needs a _target_, or remove it"
            )
    if absent := USED - settings.keys():
        raise UserError(f"configuration: the part {min(absent)!r} is missing: check the spelling of its name")
    built = {name: config.build(part, name) for name, part in settings.items()}
    if not built["stages"]:
        raise UserError("configuration: there are no stages: choose an experiment, for example +experiment=debug")
    config.check_arguments(Tracker, settings["track"], "track", complete=False)
    for name, chain in built["stages"].items():
        if not isinstance(chain, list):
            raise UserError(f"configuration: stages.{name} is no stage: take one, as in /stage@stages.{name}: base")
    stages = [stage for chain in built["stages"].values() for stage in chain]
    names = [stage.name for stage in stages]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UserError(f"configuration: two stages are named {repeated.pop()!r}: give each its own name")
    return built["run"], stages, built["track"], built["parallel"]


if __name__ == "__main__":
    main()
