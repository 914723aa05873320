"""Measure restored videos: `python -m seedvr2.eval --bench youhq40 --data-root DIR --model 3b --pred OTHER=DIR`.

Every method is scored by the same code on the same clips, beside bicubic interpolation. A run that was stopped goes on
with the next clip; what it found is in OUT/report.{html,md,csv,json}.
"""

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from seedvr2.errors import Parser, UserError, main_guard, orderly_termination
from seedvr2.evaluation.benchmark import Bench, Entry, find_entries, known, load_bench
from seedvr2.evaluation.contract import Settings
from seedvr2.evaluation.footage import read_clip
from seedvr2.evaluation.frozen import frozen_lq, given_hash
from seedvr2.evaluation.metric import METRICS
from seedvr2.evaluation.pairing import match
from seedvr2.evaluation.protocol import Protocol, geometry_of
from seedvr2.evaluation.report import write_reports
from seedvr2.evaluation.report_text import markdown_table
from seedvr2.evaluation.results import ANCHOR, completed
from seedvr2.evaluation.runner import Method, check_names, choose_metrics, collected, score_methods, terms_of
from seedvr2.evaluation.score_tables import means_table
from seedvr2.evaluation.scoring import TRUTH, safe
from seedvr2.io.cache import cache_folder
from seedvr2.io.files import disk_errors
from seedvr2.restore.device import DTYPES, pick_device
from seedvr2.restore.events import Events
from seedvr2.restore.loading import IDENTITY, Choice
from seedvr2.restore.planning import check_request
from seedvr2.restore.produce import produce
from seedvr2.restore.restorer import Restorer
from seedvr2.restore.shot import COLOR_FIXES

COMMAND = "python -m seedvr2.eval"
CORES = os.cpu_count() or 1
SWEPT = {"steps": int, "seed": int, "window": int, "fidelity": float}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; mistakes of the user end with one sentence on stderr and exit code 2."""
    argv = sys.argv[1:] if argv is None else list(argv)
    with main_guard("seedvr2.eval"), orderly_termination():
        arguments = parser().parse_args(argv)
        events = Events()
        bench = load_bench(arguments.bench, arguments.option)
        check_options(arguments)
        choices = models(arguments)
        folders = predictions(arguments, [*choices])
        for _, (choice, _) in choices:
            check_request(choice, None)  # all of them before the first one works
        found = find_entries(
            *(bench, arguments.data_root), lq=arguments.lq, gt=arguments.gt, allow_partial=arguments.allow_partial
        )
        flow = {"flow": arguments.flow, "flow_on": arguments.flow_on}
        settings = Settings(arguments.metric_device, arguments.weights_dir, **flow, seed=arguments.seed)
        asked = None if arguments.metrics is None else [name.strip() for name in arguments.metrics.split(",")]
        metrics, skipped = choose_metrics(asked, bench.metrics, found.entries, settings)
        for name, reason in skipped.items():
            events.say(f"note: no {name}: {reason}")
        fitting, unfit = fitted(bench, found.entries, arguments)
        check_names([*(name for name, _ in choices), *folders, ANCHOR], [entry.name for entry in fitting])
        check_writable(arguments.out)
        entries, lq_hash, notes = with_lq(bench, fitting, arguments, events, needed=bool(choices))
        methods, problems = matched(bench, entries, folders, arguments)
        if problems and not arguments.allow_partial:
            raise UserError(f"{'; '.join(problems)}; correct the outputs or use --allow-partial")
        terms = terms_of(bench, arguments.protocol, metrics, settings, arguments.register)
        methods = [*(restored(name, choice, bench, entries, arguments, events) for name, choice in choices), *methods]
        methods = [method for method in methods if method.outputs]
        if all(entry.lq for entry in entries):
            methods.append(Method(ANCHOR, None, {"filter": "antialiased bicubic, a = -0.5"}))
        if not methods:
            raise UserError("there is nothing to score; give --model, --pred, or clips with LQ for the bicubic anchor")
        workers = arguments.workers or (CORES if pick_device(settings.device).type == "cpu" else 1)
        scores = score_methods(methods, entries, terms, arguments.out, workers=workers, say=events.say)
        problems = [*found.problems, *unfit, *problems]
        results = collected(
            *(methods, scores, terms, arguments.out),
            skipped=skipped,
            notes=[*notes, *(f"left out: {problem}" for problem in problems)],
            lq_hash=lq_hash,
            is_partial=bool(problems),
            is_own_lq=arguments.lq is not None,
            command=shlex.join(["python", "-m", "seedvr2.eval", *argv]),
        )
        paths = write_reports(results, arguments.out)
        events.say(markdown_table(means_table(completed(results))))
        events.say(f"wrote {', '.join(map(str, paths))}")


def parser() -> argparse.ArgumentParser:
    """The command line's arguments."""
    result = Parser(prog=COMMAND, description=__doc__.split("\n")[0])
    add = result.add_argument
    add("option", nargs="*", help="changes to the benchmark's options, such as gt=native, largest=null or scale=2")
    add("--bench", required=True, help=f"{', '.join(known())}")
    add("--data-root", type=Path, help="folder that holds the test sets, or the set itself")
    add("--lq", type=Path, metavar="DIR", help="the degraded clips: files or folders of frames")
    add("--gt", type=Path, metavar="DIR", help="the ground truth, with the same names")
    add("--pred", action="append", default=[], metavar="[NAME=]DIR", help="outputs of any method; repeatable")
    add("--model", action="append", default=[], metavar="[NAME=]MODEL", help="tiny, 3b, 7b or a folder; repeatable")
    add("--sweep", metavar="steps=1,2,4", help=f"run every model with each value of {' or '.join(SWEPT)}")
    add("--out", type=Path, default=Path("eval"), metavar="DIR", help="of the report and the outputs (default eval)")
    add("--metrics", metavar="LIST", help=f"of {', '.join(METRICS)} (default: those of the paper's tables)")
    add("--protocol", choices=get_args(Protocol), default="aligned", help="official_crop as the released code does it")
    add("--register", action="store_true", help="score after alignment to the ground truth, and say so")
    add("--allow-partial", action="store_true", help="score what is there and fits, and mark the report")
    add("--workers", type=int, help="processes that score (default: one per core; 1 with metrics on a GPU)")
    add("--cache", type=Path, default=cache_folder(), metavar="DIR", help="of frozen LQ (default %(default)s)")
    metrics = result.add_argument_group("metrics")
    metrics.add_argument("--weights-dir", type=Path, metavar="DIR", help="weight files of metrics")
    metrics.add_argument("--metric-device", default="cpu", help="cpu or cuda (default cpu)")
    metrics.add_argument("--flow", choices=("auto", "dis", "raft"), default="auto", help="of the warping error")
    metrics.add_argument("--flow-on", choices=("gt", "output", "lq"), default="gt", help="whose motion (default gt)")
    model = result.add_argument_group("models")
    model.add_argument("--models", type=Path, metavar="FILE", help="a table of models (default: $SEEDVR2_MODELS)")
    model.add_argument("--steps", type=int, help="generator calls per window, for multi-step models")
    model.add_argument("--cfg", type=float, help="guidance of multi-step models (default: the model's)")
    model.add_argument("--cfg-rescale", type=float, help="share of the guided spread that is taken back (default 0)")
    model.add_argument("--fidelity", type=float, help="0 (vivid) to 1 (faithful), for models with two ends")
    model.add_argument("--window", type=int, help="frames restored together, 4k + 1")
    model.add_argument("--seed", type=int, default=0, help="of the noise, and of metrics that sample (default 0)")
    model.add_argument("--color-fix", choices=tuple(COLOR_FIXES), default="none", help="default none, as in the paper")
    model.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: the accelerator if there is one)")
    model.add_argument("--dtype", choices=tuple(DTYPES), help="default: bf16 where the hardware has it, else fp32")
    return result


def check_options(arguments: argparse.Namespace) -> None:
    """Raises UserError for values of options that make no sense whatever the clips are."""
    if arguments.data_root is not None and (arguments.lq or arguments.gt):
        raise UserError(f"--data-root {arguments.data_root} does not go with --lq or --gt; give one or the other")
    if arguments.workers is not None and arguments.workers < 1:
        raise UserError(f"--workers {arguments.workers} makes no sense; give at least 1")
    if arguments.weights_dir is not None and not arguments.weights_dir.is_dir():
        raise UserError(f"--weights-dir {arguments.weights_dir} is not a folder; give the one that holds weight files")
    try:
        pick_device(arguments.metric_device)
    except UserError as error:
        reason = f"--metric-device {arguments.metric_device} is not available here"
        raise UserError(f"{reason}; use cpu, or cuda on a machine with a GPU") from error


def check_writable(folder: Path) -> None:
    """Raises UserError if nothing can be written into the folder, which is made."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def fitted(bench: Bench, entries: Sequence[Entry], arguments: argparse.Namespace) -> tuple[list[Entry], list[str]]:
    """The clips whose LQ and GT fit each other, and what is wrong with the others.

    Raises UserError for these unless --allow-partial was given, and if no clip is left.
    """
    fitting, problems = [], []
    for entry in entries:
        try:
            geometry_of(bench, entry, arguments.protocol)
            fitting.append(entry)
        except UserError as error:
            problems.append(str(error))
    if problems and not (fitting and arguments.allow_partial):
        raise UserError("; ".join(problems))
    return fitting, problems


def models(arguments: argparse.Namespace) -> list[tuple[str, tuple[Choice, Mapping]]]:
    """The models to run by the name of their method, each with its choice and the swept setting."""
    names = ("models", "seed", "window", "steps", "cfg", "cfg_rescale", "fidelity", "color_fix", "device", "dtype")
    base = {name: getattr(arguments, name) for name in names}
    named = _named(arguments.model, "model")
    if arguments.sweep is None:
        return [(name, (Choice(**{**base, "model": value}), {})) for name, value in named.items()]
    if not named:
        raise UserError(f"--sweep {arguments.sweep} has no model to run; give --model too")
    setting, _, listed = arguments.sweep.partition("=")
    try:
        numbers = list(dict.fromkeys(map(SWEPT[setting], listed.split(","))))
    except (KeyError, ValueError) as error:
        raise UserError(f"--sweep {arguments.sweep} is not understood; write for instance steps=1,2,4") from error
    return [
        (f"{name} {setting}={number}", (Choice(**{**base, "model": value, setting: number}), {setting: number}))
        for name, value in named.items()
        for number in numbers
    ]


def predictions(arguments: argparse.Namespace, taken: Sequence) -> dict[str, Path]:
    """The folders of outputs by the name of their method; raises UserError for a name that is taken."""
    folders = {name: Path(value) for name, value in _named(arguments.pred, "pred").items()}
    for name in folders:
        if name in (ANCHOR, TRUTH) or name in [other for other, _ in taken]:
            raise UserError(f"--pred {name} has the name of another method; give another one as NAME=DIR")
    return folders


def with_lq(
    bench: Bench, entries: list[Entry], arguments: argparse.Namespace, events: Events, *, needed: bool
) -> tuple[list[Entry], str, list[str]]:
    """The clips with LQ, the hash of the LQ, and notes: frozen LQ are made where the set has none.

    Outputs for a folder of the user's own that comes without LQ were made from LQ that are not here, so those get none.
    """
    if all(entry.lq for entry in entries):
        return entries, given_hash(entries), []
    if bench.clips is None and arguments.pred and not needed:
        return entries, "", ["no LQ was given, so there is no bicubic anchor; give it as --lq"]
    frozen, digest = frozen_lq(bench, entries, arguments.cache, workers=arguments.workers or CORES, say=events.say)
    note = f"the LQ were synthesised from the ground truth, configs/degradation/test.yaml, hash {digest}"
    events.say(f"frozen LQ in {frozen[0].lq.parent}")
    return frozen, digest, [note]


def matched(
    bench: Bench, entries: Sequence[Entry], folders: Mapping[str, Path], arguments: argparse.Namespace
) -> tuple[list[Method], list[str]]:
    """The methods whose outputs are given, and all that is wrong with them."""
    methods, problems = [], []
    for name, folder in folders.items():
        one = match(entries, folder, bench=bench, protocol=arguments.protocol)
        problems += [f"{name}: {problem}" for problem in one.problems]
        facts = {"outputs": str(folder)} | ({"notes": list(one.notes)} if one.notes else {})
        methods.append(Method(name, one.paths, facts))
        if not one.paths and arguments.allow_partial:
            raise UserError(f"--pred {folder} has no output that can be scored: {'; '.join(one.problems)}")
    return methods, problems


def restored(
    name: str,
    chosen: tuple[Choice, Mapping],
    bench: Bench,
    entries: Sequence[Entry],
    arguments: argparse.Namespace,
    events: Events,
) -> Method:
    """Run a model on all clips; what it made in an earlier run is taken over."""
    choice, swept = chosen
    loaded = Restorer.chosen(choice, events)
    facts = {**loaded.facts, **({"sweep": dict(swept)} if swept else {})}
    if choice.model != IDENTITY:
        facts["parameters_m"] = loaded.parameters / 1e6
    outputs, speed = {}, {}
    for number, entry in enumerate(entries, 1):
        shape = geometry_of(bench, entry, arguments.protocol)
        path = arguments.out / "outputs" / safe(name) / f"{entry.name}.mkv"
        key = {"model": loaded.facts, "lq": _file_facts(entry.lq), "enlarged": shape.enlarged, "part": shape.part}
        events.say(f"{name}: {entry.name} ({number} of {len(entries)}), {entry.frames} frames")
        watch = partial(_tracked, events, entry.frames)
        clip = partial(read_clip, entry.lq), shape.enlarged, shape.part
        speed[entry.name] = produce(*clip, loaded.shot, path, key, watch=watch)
        outputs[entry.name] = path
    return Method(name, outputs, facts, speed)


def _tracked(events: Events, frames: int, items: Iterator) -> Iterator:
    return events.tracked(items, stage="restore", total=frames)


def _file_facts(path: Path) -> list:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _named(values: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE by name, the last part of a value where no name is given."""
    found: dict[str, str] = {}
    for value in values:
        name, equals, rest = value.partition("=")
        name, rest = (name, rest) if equals else (Path(value).name or value, value)
        if not name or not rest:
            raise UserError(f"--{option} {value} is not understood; write NAME=VALUE or a value alone")
        if name in found:
            raise UserError(f"--{option} {value}: there are two methods named {name}; name them as NAME=VALUE")
        found[name] = rest
    return found


if __name__ == "__main__":
    main()
