"""Degrade a video, an image or a folder of frames: `python -m seedvr2.data.degrade --input clip.mp4 --output lq.mkv`.

Writes the low-quality clip without loss and, beside it, a JSON file of everything that was drawn. The operations see
the whole clip, so it is held in memory; what would not fit is refused before it is read to the end.
"""

import argparse
import hashlib
import math
import sys
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO, TypeVar

import numpy as np
import yaml

from seedvr2 import config
from seedvr2.data.degradation.draw import to_bytes, to_floats
from seedvr2.data.degradation.pipeline import Degradation
from seedvr2.data.degradation.sheet import Cell, contact_sheet, summary
from seedvr2.data.listing import frame_files
from seedvr2.errors import Parser, UserError, main_guard, orderly_termination
from seedvr2.io.files import disk_errors, whole, write_json
from seedvr2.io.images import is_image, read_image, write_image
from seedvr2.io.reader import VideoInfo, existing_file, open_video
from seedvr2.io.writer import VideoWriter, check_writable
from seedvr2.randomness import numpy_generator

LOSSLESS_IMAGES = (".png", ".bmp", ".tif", ".tiff", ".ppm")
BYTES_PER_PIXEL = 128  # of the clean clip, at the peak of a degradation; 98 were seen where it enlarges by 1.4
SHEET_FRAMES = 9
FOLDER_RATE = Fraction(24)  # frames per second of a video made of a folder of frames
SILENCE = 5.0  # seconds of work without a word
Step = TypeVar("Step")


class Clip(NamedTuple):
    """Frames uint8 (T,H,W,3) with their time stamps, and what the video said about itself (None: images)."""

    frames: np.ndarray
    stamps: list[int | None]
    info: VideoInfo | None


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; mistakes of the user end with one sentence on stderr and exit code 2."""
    with main_guard("seedvr2.data.degrade"), orderly_termination():
        arguments = parser().parse_args(argv)
        described = preset(arguments.preset)
        degradation = built(described, arguments.preset)
        check_arguments(arguments)
        check_outputs(arguments)
        clip = aligned(read(arguments), degradation.target_scale)
        if arguments.output:
            record = []
            lq = degrade(clip.frames, degradation, arguments.seed, record)
            write(arguments.output, lq, clip)
            facts = report(arguments, clip, lq, record) | {"degradation": described}
            write_facts(record_path(arguments.output), facts)
            say(f"wrote {arguments.output} and {record_path(arguments.output).name}: {', '.join(summary(record))}")
        if arguments.sheet:
            write_image(arguments.sheet, sheet(arguments, clip.frames, degradation))
            say(f"wrote {arguments.sheet}")


def parser() -> argparse.ArgumentParser:
    """The command line's arguments."""
    result = Parser(prog="python -m seedvr2.data.degrade", description=__doc__.split("\n")[0])
    add = result.add_argument
    add("--input", type=Path, required=True, help="video, image or folder of frames")
    add("--preset", default="uav", help="a file of configs/degradation, or the path of one of your own (default uav)")
    add("--seed", type=int, default=0, help="the same seed gives the same bytes (default 0)")
    add("--output", type=Path, help=".mkv (FFV1), .png for an image, or a new folder of frames; a .json goes beside it")
    add("--sheet", type=Path, help=f"picture of draws on the middle {SHEET_FRAMES} frames, from --seed on")
    add("--draws", type=int, default=8, help="number of draws on the sheet (default 8)")
    add("--frames", type=int, help="take only the first frames (default: all)")
    add("--memory", type=float, default=8, help="GB that the clip may take (default 8)")
    add("--overwrite", action="store_true", help="replace existing outputs")
    return result


def preset(name: str) -> dict:
    """The plain configuration of a degradation, by the name of a preset or the path of a YAML file."""
    if name.endswith((".yaml", ".yml")):
        try:
            return yaml.safe_load(existing_file(name).read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"--preset {name} is no YAML file ({' '.join(str(error).split())}); correct it") from error
    known = sorted(path.stem for path in (config.folder() / "degradation").glob("*.yaml"))
    if name not in known:
        wrong = "is no .yaml file" if Path(name).is_file() else "does not exist"
        raise UserError(f"--preset {name} {wrong}; use one of {', '.join(known)} or the path of a .yaml file")
    return config.plain(config.load(f"degradation/{name}"))["degradation"]


def built(described: dict, name: str) -> Degradation:
    """The degradation of a configuration; raises UserError if it is something else."""
    degradation = config.build(described, "degradation")
    if not isinstance(degradation, Degradation):
        raise UserError(f"--preset {name} describes no Degradation; start from a file of configs/degradation")
    return degradation


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raise UserError for a missing input, numbers that make no sense, and names that cannot hold the result."""
    source, output, sheet = arguments.input, arguments.output, arguments.sheet
    if not source.is_dir():
        existing_file(source)
    if not (output or sheet):
        raise UserError("nothing is asked for; give --output, --sheet or both")
    for name, value in {"draws": arguments.draws, "frames": arguments.frames, "memory": arguments.memory}.items():
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"--{name} {value} makes no sense; give a positive number")
    if sheet and not is_image(sheet):
        raise UserError(f"--sheet {sheet.name} is no picture; end it in .png or .jpg")
    allowed = LOSSLESS_IMAGES if is_image(source) else (".mkv", "")
    if output and output.suffix.lower() not in allowed:
        wanted = ".png" if is_image(source) else ".mkv, or give the name of a new folder"
        raise UserError(f"--output {output.name} cannot hold this clip without loss; end it in {wanted}")
    if output and sheet == output:
        raise UserError(f"--sheet and --output are both {output}; give two names")


def check_outputs(arguments: argparse.Namespace) -> None:
    """Raise UserError for outputs that cannot be written or are in the way."""
    wanted = [arguments.sheet, *((arguments.output, record_path(arguments.output)) if arguments.output else ())]
    for path in filter(None, wanted):
        if path.exists() and path.samefile(arguments.input):
            raise UserError(f"{path} is the input; give another name")
        if path.is_dir():
            raise UserError(f"{path} is an existing folder; give a new name, because folders are not replaced")
        if path.exists() and not arguments.overwrite:
            raise UserError(f"{path} exists; give another name, or --overwrite to replace it")
        check_writable(path)


def record_path(output: Path) -> Path:
    """Where the drawn parameters of an output go."""
    return output.with_suffix(".json")


def read(arguments: argparse.Namespace) -> Clip:
    """The clean clip; raises UserError if it is no clip, changes its size, or takes more memory than allowed."""
    source = arguments.input
    if source.is_dir():
        info, pictures = None, ((read_image(file), None) for file in numbered(source))
        return Clip(*collected(arguments, pictures), info)
    if is_image(source):
        return Clip(*collected(arguments, iter([(read_image(source), None)])), None)
    with open_video(source) as video:
        if video.info.is_high_dynamic_range:
            raise UserError(f"{source} is a PQ or HLG video, which would need tone mapping; convert it to SDR")
        return Clip(*collected(arguments, video.frames()), video.info)


def numbered(folder: Path) -> tuple[Path, ...]:
    """The numbered pictures of a folder; raises UserError if there are none or some have no number."""
    pictures = [file for file in folder.iterdir() if is_image(file) and not file.name.startswith(".")]
    bare = [file for file in pictures if not file.stem[-1:].isdigit()]
    if bare or not pictures:
        problem = f"{bare[0].name} has no number" if bare else "there is no picture"
        raise UserError(f"{folder} is no folder of frames ({problem}); give pictures named like 0001.png")
    return frame_files(folder)


def collected(
    arguments: argparse.Namespace, frames: Iterator[tuple[np.ndarray, int | None]]
) -> tuple[np.ndarray, list[int | None]]:
    """Frames and stamps of an iterator, up to --frames, as one array."""
    found, stamps = [], []
    for frame, stamp in islice(frames, arguments.frames):
        if found and frame.shape != found[0].shape:
            raise UserError(f"{arguments.input} changes its size at frame {len(found)}; end it there with --frames")
        possible = int(arguments.memory * 1e9 / (BYTES_PER_PIXEL * frame.shape[0] * frame.shape[1]))
        if len(found) >= possible:
            size = f"{frame.shape[1]}x{frame.shape[0]}"
            advice = f"use --frames {possible} or a larger --memory" if possible else "use a larger --memory"
            raise UserError(f"--memory {arguments.memory:g} GB holds {possible} frames of {size} at once; {advice}")
        found.append(frame)
        stamps.append(stamp)
    return np.stack(found), stamps


def aligned(clip: Clip, scale: int) -> Clip:
    """The clip cut around its centre to sides that are multiples of the scale."""
    sides = clip.frames.shape[1:3]
    height, width = (side // scale * scale for side in sides)
    if not height or not width:
        raise UserError(f"a picture of {sides[1]}x{sides[0]} is too small to reduce by {scale}; use a larger one")
    if (height, width) != sides:
        say(f"note: {sides[1]}x{sides[0]} is cut to {width}x{height}, a multiple of {scale}")
    top, left = (sides[0] - height) // 2, (sides[1] - width) // 2
    return clip._replace(frames=clip.frames[:, top : top + height, left : left + width])


def degrade(frames: np.ndarray, degradation: Degradation, seed: int, record: list[dict]) -> np.ndarray:
    """The degraded clip, float32 (T,h,w,3), of clean uint8 (T,H,W,3); `record` receives what was drawn."""
    return degradation(to_floats(frames), numpy_generator(seed, "degrade"), record=record, watch=told)


def write(output: Path, lq: np.ndarray, clip: Clip) -> None:
    """Write the degraded clip: an image, a video with the times of its source, or a folder of frames."""
    pictures = [to_bytes(frame) for frame in lq]
    if is_image(output):
        write_image(output, pictures[0])
    elif output.suffix:
        height, width = lq.shape[1:3]
        info, timing = clip.info, {"rate": FOLDER_RATE}
        if info:
            timing = {"rate": info.rate, "time_base": info.time_base, "sample_aspect": info.sample_aspect}
        with VideoWriter(output, width=width, height=height, is_lossless=True, **timing) as writer:
            for picture, stamp in zip(pictures, clip.stamps, strict=True):
                writer.write(picture, pts=stamp)
        for note in writer.notes:
            say(f"note: {note}")
    else:
        with disk_errors(output), whole(output) as folder:
            folder.mkdir()
            for number, picture in enumerate(pictures):
                write_image(folder / f"{number:06d}.png", picture)


def write_facts(path: Path, facts: dict) -> None:
    """Write a JSON file whole; raises UserError if it cannot be written."""
    with disk_errors(path):
        write_json(path, facts)


def report(arguments: argparse.Namespace, clip: Clip, lq: np.ndarray, record: list[dict]) -> dict:
    """What is needed to repeat and to check a degradation; hashes are those of 8-bit RGB frames."""
    degraded = np.stack([to_bytes(frame) for frame in lq])
    return {
        "input": arguments.input.name,
        "preset": arguments.preset,
        "seed": arguments.seed,
        "frames": len(lq),
        "clean_size": list(clip.frames.shape[1:3]),
        "size": list(lq.shape[1:3]),
        "clean_sha256": hashlib.sha256(clip.frames.tobytes()).hexdigest(),
        "sha256": hashlib.sha256(degraded.tobytes()).hexdigest(),
        "versions": {name: version(name) for name in ("seedvr2", "av", "numpy", "opencv-python-headless")},
        "drawn": record,
    }


def sheet(arguments: argparse.Namespace, frames: np.ndarray, degradation: Degradation) -> np.ndarray:
    """The contact sheet of the middle frames of a clip: original and draws."""
    start = max((len(frames) - SHEET_FRAMES) // 2, 0)
    part = frames[start : start + SHEET_FRAMES]
    height, width = part.shape[1:3]
    reduced = f"{width // degradation.target_scale}x{height // degradation.target_scale}"
    facts = [f"{width}x{height}", f"draws are {reduced}, enlarged"]
    if len(part) > 1:
        facts += [f"frames {start} to {start + len(part) - 1}", "the middle one, and a part of first, middle and last"]
    cells = [Cell(to_floats(part), f"original {arguments.input.name}", facts)]
    for seed in told(range(arguments.seed, arguments.seed + arguments.draws), "draw"):
        record = []
        lq = degrade(part, degradation, seed, record)
        cells.append(Cell(lq, f"{Path(arguments.preset).stem}, seed {seed}", summary(record)))
    return contact_sheet(cells, size=(height, width))


def told(steps: Sequence[Step], name: str = "operation") -> Iterator[Step]:
    """Pass steps through; one that begins after a long silence is announced on standard error."""
    last = time.monotonic()
    for number, step in enumerate(steps, 1):
        if time.monotonic() - last > SILENCE:
            last = time.monotonic()
            say(f"{name} {number} of {len(steps)}", file=sys.stderr)
        yield step


def say(text: str, *, file: TextIO | None = None) -> None:
    """Print a line at once, on standard output unless told otherwise."""
    print(text, file=file, flush=True)


if __name__ == "__main__":
    main()
