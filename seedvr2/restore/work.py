"""One input restored from start to end: said, done, and accounted for beside the output."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence

from seedvr2.io.media import Media
from seedvr2.restore.events import Events
from seedvr2.restore.job import Job, Outcome, Stop, Target, partial_path
from seedvr2.restore.journal import identity_of
from seedvr2.restore.outputs import pixel_shape, sidecar_path
from seedvr2.restore.resize import Size
from seedvr2.restore.restorer import Restorer
from seedvr2.restore.sidecar import write_sidecar


def restore(
    media: Media,
    targets: Sequence[Target],
    model: Restorer,
    settings: Mapping,
    events: Events,
    stop: Stop,
    *,
    fresh: bool = False,
    request: str = "",
) -> Outcome:
    """Restore an input into its targets, or go on with what a killed run has left of them.

    settings: `cuts` and `segment` of a `Job`. fresh: begin anew. request: see `request_of`. Raises UserError for an
    input without frames, a full disk, or an unfinished run with other settings.
    """
    info, start = media.info, time.monotonic()
    output, encoding, size, _ = targets[0]
    made_of = {
        "size": [size.width, size.height],
        "model": model.facts,
        "encodings": [target.encoding.describe() for target in targets],
        "reading": media.asked,
        **settings,
    }
    title = f"{info.path}: {Size(info.height, info.width)} to {size}, {length(media)}"
    events.say(title, event="start", input=str(info.path), output=str(output))
    for note in (*info.notes, *encoding.notes):
        events.say(f"note: {note}")
    if (shape := pixel_shape(info, size)) != info.sample_aspect:
        events.say(f"note: the picture keeps its shape, so the pixels of {size} have the aspect ratio {shape}")
    key = {"input": identity_of(info.path), "read": list(info.notes), **made_of}
    job = Job(
        media, model.shot, targets, size=size, key=key, **settings, fresh=fresh, sample_aspect=shape, events=events
    )
    model.shot.seconds.clear()
    try:
        outcome = job.run(stop)
        later = [note for note in media.info.notes if note not in info.notes]
        for note in (*later, *outcome.notes):
            events.say(f"note: {note}")
        if outcome.stopped:
            place = partial_path(output)
            text = f"stopped after {outcome.frames} frames, which are in {place}; the same command goes on"
            events.say(text, event="stopped", frames=outcome.frames, path=str(place))
            return outcome
        seconds = {**outcome.seconds, **model.shot.seconds, "all": time.monotonic() - start}
        facts = {
            **made_of,
            "request": request,
            "frames": outcome.frames,
            "shots": outcome.shots,
            "sample_aspect": str(shape),
            "notes": [*info.notes, *encoding.notes, *later, *outcome.notes],
            "damaged": media.damaged,
            "truncated": media.is_truncated,
            "ranks": model.ranks,
            "memory": model.memory(),
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
        }
        write_sidecar(sidecar_path(output), info.path, output, facts)
        job.journal.remove()
    finally:
        job.journal.leave()
    for target in targets:
        events.say(f"wrote {target.path}", event="wrote", path=str(target.path), frames=outcome.frames)
    return outcome


def request_of(media: Media, targets: Sequence[Target], *more: object) -> str:
    """Hash of an input, what is to be written of it, and how: the same command on the same files has the same one."""
    asked = [[target.path.name, *target.size, target.encoding.describe()] for target in targets]
    text = json.dumps([identity_of(media.info.path), media.asked, asked, *more], default=str)
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:32]


def length(media: Media) -> str:
    """Rate and number of frames in words."""
    info = media.info
    if info.kind == "image":
        return "one picture"
    rate = f"{float(info.rate):.5g} frames/s" if info.rate else "unknown rate"
    return f"{rate}, {f'about {info.frames} frames' if info.frames else 'unknown length'}"
