"""Prove that nothing is lost between reading and writing: `infer --model identity` over all files of a folder.

    python scripts/check_identity.py FOLDER [--pictures]

Every input that can be read goes through the command into FFV1 (with --pictures into folders of PNG) in a temporary
folder, and is compared with what was read: each frame bit for bit at the depth of the output, transparency, time
stamps (to the millisecond that Matroska stores), shape of the pixels, and the number of other streams. Exit code 1 if
anything differs.
"""

import argparse
import sys
import tempfile
from itertools import zip_longest
from pathlib import Path

import av
import numpy as np

from seedvr2 import infer
from seedvr2.errors import UserError, main_guard
from seedvr2.io.media import MediaInfo, find_media, open_media
from seedvr2.io.picture import Picture
from seedvr2.io.planes import at_depth


def main() -> None:
    """Compare every input; print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", action="store_true")
    options = parser.parse_args()
    wrong = 0
    for source in find_media(options.folder):
        with tempfile.TemporaryDirectory() as folder:
            verdict = check(source, Path(folder), pictures=options.pictures)
        wrong += verdict.startswith("WRONG")
        print(f"{source.relative_to(options.folder)}: {verdict}", flush=True)
    print(f"{wrong} wrong")
    sys.exit(bool(wrong))


def check(source: Path, folder: Path, *, pictures: bool) -> str:
    """What became of one input."""
    try:
        with open_media(source) as media:
            info = media.info
    except UserError as error:
        return f"refused: {error}"
    ending = ".png" if info.kind == "image" else "" if pictures else ".mkv"
    output = folder / f"out{ending}"
    codec = ["--codec", "ffv1"] if ending == ".mkv" else []
    try:
        infer.main(["--model", "identity", "--quiet", "--input", str(source), "--output", str(output), *codec])
    except SystemExit as end:
        return "refused" if end.code == 2 else f"WRONG: exit code {end.code}"
    return differences(info, source, output)


def differences(info: MediaInfo, source: Path, output: Path) -> str:
    """All that differs, or what was equal."""
    if output.is_dir() and len(pictures := list(output.iterdir())) == 1:
        output = pictures[0]  # one picture is no folder of frames
    with open_media(source) as one, open_media(output, rate=info.rate) as two:
        count, stamps = 0, []
        depth = two.info.bits if two.info.kind != "frames" else (8 if info.bits == 8 else 16)
        for before, after in zip_longest(one.pictures(), two.pictures()):
            if before is None or after is None:
                return f"WRONG: {'more' if before is None else 'fewer'} than {count} frames"
            if not same(before, after, depth):
                return f"WRONG: frame {count} differs at {depth} bits"
            stamps.append((before.pts, after.pts))
            count += 1
        found = [f"{count} frames at {depth} bits"]
        if output.suffix == ".mkv":
            if not even(stamps, one.info, two.info):
                return "WRONG: time stamps differ"
            if one.info.sample_aspect != two.info.sample_aspect:
                return f"WRONG: pixels of {two.info.sample_aspect} instead of {one.info.sample_aspect}"
            streams = [others(path) for path in (source, output)] if source.is_file() else [0, 0]
            if streams[0] != streams[1]:
                return f"WRONG: {streams[1]} of {streams[0]} other streams"
            found.append(f"{streams[0]} other streams")
    return f"equal, {', '.join(found)}"


def same(before: Picture, after: Picture, depth: int) -> bool:
    """Whether two pictures are equal at a depth; opaque transparency counts as none."""
    if not np.array_equal(*(at_depth(picture.rgb, depth) for picture in (before, after))):
        return False
    opaque = (np.full(p.rgb.shape[:2], np.iinfo(p.rgb.dtype).max, p.rgb.dtype) for p in (before, after))
    alphas = (full if p.alpha is None else p.alpha for p, full in zip((before, after), opaque, strict=True))
    return np.array_equal(*(at_depth(alpha, depth) for alpha in alphas))


def even(stamps: list[tuple], one: MediaInfo, two: MediaInfo) -> bool:
    """Whether frames follow each other at the same distances."""
    if any(stamp is None for pair in stamps for stamp in pair):
        return True
    first = stamps[0]
    moved = [((a - first[0]) * one.time_base, (b - first[1]) * two.time_base) for a, b in stamps]
    return all(abs(a - b) <= max(one.time_base, two.time_base) for a, b in moved)


def others(path: Path) -> int:
    """Sound and subtitle streams of a file."""
    try:
        with av.open(str(path)) as container:
            return sum(stream.type in ("audio", "subtitle") for stream in container.streams)
    except av.FFmpegError:
        return 0


if __name__ == "__main__":
    with main_guard("check_identity"):
        main()
