"""Restore videos and images: `python -m seedvr2.infer --input lq.mp4`.

A film is streamed shot by shot: memory does not depend on its length, and frames, time stamps, sound, subtitles and
colours are those of the input. Killed at any moment, the same command goes on from the last finished segment.
"""

import argparse
import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import av

from seedvr2.errors import UserError, main_guard, orderly_termination
from seedvr2.io.encoding import choose_encoding
from seedvr2.io.media import Media, open_media
from seedvr2.parallel.crew import Crew, launched, speaks
from seedvr2.parallel.ending import ends_at_once
from seedvr2.parallel.restoration import split_restorer
from seedvr2.restore.cuts import read_cuts
from seedvr2.restore.device import takes_cpu
from seedvr2.restore.events import Events
from seedvr2.restore.film import Identity
from seedvr2.restore.job import Stop, Target, plain_picture, side_by_side
from seedvr2.restore.journal import is_unfinished, unfinished_window
from seedvr2.restore.loading import IDENTITY, Choice, check_ranks
from seedvr2.restore.options import parser
from seedvr2.restore.outputs import Pair, check_output, compare_path, is_finished, pairs
from seedvr2.restore.plan.prediction import Film
from seedvr2.restore.plan.settings import Settings
from seedvr2.restore.planning import Foresight, check_request, plan_film
from seedvr2.restore.resize import DEFAULT_SCALE, Size, check_size, parse_size, target_size
from seedvr2.restore.restorer import Restorer
from seedvr2.restore.work import request_of, restore

SOME_FAILED, INTERRUPTED = 3, 130  # exit codes


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; mistakes of the user end with one sentence on stderr and exit code 2.

    Of several inputs the bad ones are reported and the others restored, with exit code 3 at the end. Ctrl-C ends after
    the running segment, with exit code 130. Started by `torchrun`, the processes share one input, or take several ones
    in turn.
    """
    with ends_at_once(), main_guard("seedvr2.infer", speaks=speaks()), orderly_termination():
        arguments = parser().parse_args(argv)
        arguments.cuts = read_cuts(arguments.cuts, arguments.no_shots)
        if arguments.segment < 1:
            raise UserError(f"--segment {arguments.segment} makes no sense; give at least 1 frame")
        check_request(choice_of(arguments), arguments.max_memory)
        with Crew.start(cpu=launched() > 1 and takes_cpu(arguments.device)) as crew:
            if crew.device is not None:
                arguments.device = str(crew.device)
            chosen = crew.of_main(lambda: pairs(arguments.input, arguments.output, container=arguments.container))
            how = arguments.ranks or ("split" if len(chosen) == 1 else "spread")
            arguments.is_split = crew.world > 1 and how == "split"
            failed = (restore_together if arguments.is_split else restore_apart)(chosen, arguments, crew)
            if len(chosen) > 1 and crew.main and (failed or not arguments.plan):
                events = Events(quiet=arguments.quiet, as_json=arguments.json)
                count = len(chosen) - len(failed)
                done = "planned" if arguments.plan else "restored"
                events.say(f"{count} of {len(chosen)} inputs {done}", event="summary", failed=failed)
                if failed:
                    events.error(f"failed: {', '.join(failed)}")
                    sys.exit(SOME_FAILED)


def restore_apart(chosen: Sequence[Pair], arguments: argparse.Namespace, crew: Crew) -> list[str]:
    """Every rank restores some of the inputs alone; returns the names of those that failed, on all ranks."""
    events = Events(quiet=arguments.quiet, as_json=arguments.json, rank=crew.rank if crew.world > 1 else None)
    model = None

    def settled(settings: Settings | None) -> Restorer:
        nonlocal model
        model = with_settings(model, choice_of(arguments), settings, events)
        return model

    def work() -> list[str]:
        mine = chosen[crew.rank :: crew.world]
        return restore_all(mine, arguments, events, settled, is_only=len(chosen) == 1)

    failed = {name for names in crew.gathered(crew.agreed(work)) for name in names}
    return [pair.source.name for pair in chosen if pair.source.name in failed]


def restore_together(chosen: Sequence[Pair], arguments: argparse.Namespace, crew: Crew) -> list[str]:
    """All ranks restore each of the inputs; returns the names of those that failed, on the main rank."""
    events = Events(quiet=arguments.quiet or not crew.main, as_json=arguments.json and crew.main)
    choice, model = choice_of(arguments), None
    crew.agreed(lambda: check_ranks(choice, crew.world))

    def settled(settings: Settings | None) -> Restorer:
        nonlocal model
        is_new = model is None
        model = crew.agreed(lambda: with_settings(model, choice, settings, events))
        if is_new and not isinstance(model.shot, Identity):
            model.share(crew.world)
            split_restorer(model.shot, crew)
            events.say(f"{crew.world} processes share the work on each input")
        return model

    crew.works["settle"] = settled
    if not crew.main:
        crew.follow()
        return []
    with crew.leading():
        return restore_all(chosen, arguments, events, functools.partial(crew.call, "settle"), is_only=len(chosen) == 1)


def restore_all(
    chosen: Sequence[Pair],
    arguments: argparse.Namespace,
    events: Events,
    settled: Callable[[Settings | None], Restorer],
    *,
    is_only: bool,
) -> list[str]:
    """Restore inputs one after the other; returns the names of those that failed.

    settled: gives the model with settings of memory, loaded when the first input was found good. is_only: whether a
    mistake ends the command, as a UserError. Exits after the running segment if Ctrl-C asks for it; one of several
    processes stops at once.
    """
    failed, choice = [], choice_of(arguments)
    with Stop() if launched() == 1 else contextlib.nullcontext(Stop()) as stop:
        for pair in chosen:
            try:
                with open_media(pair.source, deinterlace=not arguments.no_deinterlace, rate=arguments.fps) as media:
                    targets = plan_targets(pair, media, arguments)
                    request = request_of(media, targets, choice._asdict(), arguments.cuts)
                    if not is_only and is_done(targets, request, arguments):
                        events.say(f"{pair.source} is restored already", event="kept", input=str(pair.source))
                        continue
                    check_targets(pair, targets, arguments)
                    foresight = foresee(media, targets[0], choice, arguments)
                    if arguments.plan:
                        tell_plan(pair.source, foresight, events)
                        continue
                    if foresight is not None:
                        events.say(foresight.line(), event="plan", **foresight.facts())
                    model = settled(foresight and foresight.plan.settings)
                    settings = {"cuts": arguments.cuts, "segment": arguments.segment}
                    restore(media, targets, model, settings, events, stop, fresh=arguments.overwrite, request=request)
            except (UserError, OSError, av.FFmpegError) as error:  # one strange file does not end a batch
                if is_only:
                    raise
                failed.append(pair.source.name)
                kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
                text = str(error) if str(pair.source) in str(error) else f"{pair.source}: {kind}{error}"
                events.error(text, input=str(pair.source))
            if stop.asked:
                sys.exit(INTERRUPTED)
    return failed


def plan_targets(pair: Pair, media: Media, arguments: argparse.Namespace) -> list[Target]:
    """What is to be written of an input. Raises UserError for what cannot be."""
    info = media.info
    size = output_size(arguments, info.height, info.width)
    doubled = Size(size.height, 2 * size.width)
    output = pair.path(info, container=arguments.container)
    wanted = [(output, size, None)] + [(compare_path(output), doubled, False)] * arguments.compare
    codec = dict.fromkeys(("codec", "crf", "preset", "chroma"))  # pictures have none of these
    if info.kind != "image":
        codec = {name: getattr(arguments, name) for name in codec}
    targets = []
    for path, extent, alpha in wanted:
        encoding = choose_encoding(
            path,
            info,
            width=extent.width,
            height=extent.height,
            depth=arguments.depth,
            **codec,
            alpha=False if arguments.no_alpha else alpha,
            is_folder=not path.suffix,
            picture=arguments.pictures,
        )
        if encoding.is_sequence and not encoding.is_folder and info.kind != "image" and info.frames != 1:
            raise UserError(f"{path.name} holds one picture, not a film; give a folder, or end it in .mp4")
        render = plain_picture(size, encoding) if path == output else side_by_side(encoding)
        targets.append(Target(path, encoding, extent, render))
    return targets


def is_done(targets: Sequence[Target], request: str, arguments: argparse.Namespace) -> bool:
    """Whether an earlier run of the command restored this one of several inputs."""
    again = arguments.overwrite or arguments.plan or is_unfinished(targets[0].path)
    return not again and is_finished([target.path for target in targets], request)


def check_targets(pair: Pair, targets: Sequence[Target], arguments: argparse.Namespace) -> None:
    """Raise UserError for outputs that cannot be written or are in the way, before any work is done.

    With --plan nothing is written, so that they may be.
    """
    if arguments.plan:
        return
    pair.make_folder()
    # an unfinished run was killed while it put them in place
    replaceable = arguments.overwrite or is_unfinished(targets[0].path)
    for target in targets:
        check_output(pair.source, target.path, overwrite=replaceable)


def choice_of(arguments: argparse.Namespace) -> Choice:
    """The model that the arguments ask for."""
    return Choice(**{name: getattr(arguments, name) for name in Choice._fields})


def foresee(media: Media, target: Target, choice: Choice, arguments: argparse.Namespace) -> Foresight | None:
    """The plan for a medium."""
    info = media.info
    film = Film(Size(info.height, info.width), target.size, 1 if info.kind == "image" else info.frames)
    unfinished = None if arguments.overwrite else unfinished_window(target.path)
    ranks = {"ranks": launched(), "is_split": arguments.is_split}
    return plan_film(choice, film, most=arguments.max_memory, unfinished=unfinished, **ranks)


def tell_plan(source: Path, foresight: Foresight | None, events: Events) -> None:
    """Print a plan."""
    lines = ["nothing is computed, so nothing is planned"] if foresight is None else foresight.table()
    events.say("\n".join([f"{source}:", *lines]), event="plan", **({} if foresight is None else foresight.facts()))


def with_settings(model: Restorer | None, choice: Choice, settings: Settings | None, events: Events) -> Restorer:
    """The model, loaded if it is not yet, with the settings of a plan; None: there is nothing to settle."""
    if model is None:
        return Restorer.chosen(choice, events, settings)
    if settings is not None:
        model.settle(settings)
    return model


def output_size(arguments: argparse.Namespace, height: int, width: int) -> Size:
    """The output size that the arguments ask for; raises UserError if it, or its side-by-side, makes no sense."""
    size = None if arguments.size is None else parse_size(arguments.size)
    asked = {"scale": arguments.scale, "short_side": arguments.short_side, "size": size}
    target = target_size(height, width, **asked, default=1.0 if arguments.model == IDENTITY else DEFAULT_SCALE)
    if arguments.compare:
        check_size(Size(target.height, 2 * target.width), request="--compare", source=Size(height, width))
    return target


if __name__ == "__main__":
    main()
