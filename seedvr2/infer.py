"""Restore a video or an image: `python -m seedvr2.infer --input lq.mp4`.

A video is streamed: memory does not depend on its length, and frame count, frame rate and sound are those of the input.
"""

import argparse
import contextlib
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch

from seedvr2.errors import UserError, main_guard, orderly_termination
from seedvr2.io.images import is_image, read_image, write_image
from seedvr2.io.reader import Video, VideoInfo, existing_file, open_video
from seedvr2.io.writer import VideoWriter, check_writable, video_format
from seedvr2.restore.device import DTYPES, pick_device, pick_dtype
from seedvr2.restore.models import WEIGHTS_VARIABLE, Adapters, ModelFiles, find_model, load_model
from seedvr2.restore.progress import tracked
from seedvr2.restore.resize import Size, check_size, parse_size, resize_frame, target_size
from seedvr2.restore.restorer import COLOR_FIXES, Restorer
from seedvr2.restore.stream import TIME

DEFAULT_SCALE = 4.0
OWN_WINDOW = 17  # frames; what the tiny model is trained on
RELEASED_WINDOW = 33
BASE_STEPS = 8  # of a multi-step generator, as in the previews of its training


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one sentence, like every other mistake of the user."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; mistakes of the user end with one sentence on stderr and exit code 2."""
    with main_guard("seedvr2.infer"), orderly_termination():
        arguments = parser().parse_args(argv)
        arguments.input = existing_file(arguments.input)
        arguments.output = output_path(arguments)
        restore = restore_image if is_image(arguments.input) else restore_video
        restore(arguments)


def parser() -> argparse.ArgumentParser:
    """The command line's arguments."""
    result = Parser(prog="python -m seedvr2.infer", description=__doc__.split("\n")[0])
    add = result.add_argument
    add("--input", type=Path, required=True, help="video or image to restore")
    add("--output", type=Path, help="default: NAME_restored.mp4 (image: .png) beside the input")
    add("--overwrite", action="store_true", help="replace existing outputs")
    add("--compare", action="store_true", help="also write NAME_compare: bicubic left, restored right")
    size = result.add_mutually_exclusive_group()
    size.add_argument("--scale", type=float, help=f"output size over input size (default {DEFAULT_SCALE:g})")
    size.add_argument("--short-side", type=int, help="short side of the output in pixels")
    size.add_argument("--size", help="exact output size, WIDTHxHEIGHT")
    add("--model", help="tiny, 3b, 7b or a folder; default: released weights if there are any and a GPU, else tiny")
    add("--lora", type=Path, metavar="FILE", help="lora.safetensors of a fine-tuning stage, merged into the model")
    add("--lora-strength", type=float, help="factor of the adapters, 0 for the plain model (default: as exported)")
    add("--seed", type=int, default=0, help="of the noise that restoration starts from (default 0)")
    windows = f"(default {OWN_WINDOW}, for released models {RELEASED_WINDOW})"
    add("--window", type=int, help=f"frames restored together, 4k + 1 {windows}")
    add("--steps", type=int, help=f"generator calls per window, for multi-step models (default {BASE_STEPS})")
    add("--color-fix", choices=tuple(COLOR_FIXES), help="default: wavelet for released models, none for others")
    add("--posterior", choices=("sample", "mean"), default="sample", help="of the autoencoder (default sample)")
    add("--device", help="cpu, cuda, cuda:1, ... (default: cuda if there is one)")
    add("--dtype", choices=tuple(DTYPES), help="of the networks; default: bf16 where the hardware has it, else fp32")
    return result


def output_path(arguments: argparse.Namespace) -> Path:
    """The output's path, checked: writable, of the input's kind, not the input, and not in the way of another file."""
    source, output = arguments.input, arguments.output
    suffix = ".png" if is_image(source) else ".mp4"
    output = output or source.with_name(f"{source.stem}_restored{suffix}")
    if is_image(source) != is_image(output):
        kind = "an image" if is_image(source) else "a video"
        raise UserError(f"{source.name} is {kind}, which cannot be written to {output.name}; end it in {suffix}")
    if not is_image(output):
        video_format(output)
    for path in (output, compare_path(output)) if arguments.compare else (output,):
        check_writable(path)
        if path.exists() and path.samefile(source):
            raise UserError(f"{path} is the input; give another --output")
        if path.exists() and not arguments.overwrite:
            raise UserError(f"{path} exists; give another --output, or --overwrite to replace it")
    return output


def compare_path(output: Path) -> Path:
    """Where the side-by-side of an output goes."""
    return output.with_name(f"{output.stem}_compare{output.suffix}")


def restore_image(arguments: argparse.Namespace) -> None:
    """Restore one image file into one image file."""
    picture = read_image(arguments.input)
    size = output_size(arguments, *picture.shape[:2])
    restorer = build_restorer(arguments)
    say(f"{arguments.input}: {Size(*picture.shape[:2])} to {size}")
    resized = resize_frame(picture, size)
    (restored,) = restorer.restore([resized])
    write_image(arguments.output, to_bytes(restored))
    if arguments.compare:
        write_image(compare_path(arguments.output), side_by_side(resized, restored))
    report(arguments)


def restore_video(arguments: argparse.Namespace) -> None:
    """Restore one video file into one video file, a few frames at a time."""
    with open_video(arguments.input) as video:
        info = video.info
        size = output_size(arguments, info.height, info.width)
        restorer = build_restorer(arguments)
        total = expected_frames(info)
        rate = f"{float(info.rate):.5g} frames/s" if info.rate else "unknown rate"
        frames = f"about {total} frames" if total else "unknown length"
        say(f"{info.path}: {Size(info.height, info.width)} to {size}, {rate}, {frames}")
        for warning in warnings(info):
            say(f"note: {warning}")
        with contextlib.ExitStack() as outputs:
            writer = outputs.enter_context(open_writer(arguments.output, info, size))
            compare = None
            if arguments.compare:
                doubled = Size(size.height, 2 * size.width)
                compare = outputs.enter_context(open_writer(compare_path(arguments.output), info, doubled))
            if (shape := pixel_shape(info, size)) != info.sample_aspect:
                say(f"note: the picture keeps its shape, so the pixels of {size} have the aspect ratio {shape}")
            for note in writer.notes:
                say(f"note: {note}")
            for (source, pts), restored in tracked(pairs(video, restorer, size), total=total):
                writer.write(to_bytes(restored), pts=pts)
                if compare is not None:
                    compare.write(side_by_side(resize_frame(source, size), restored), pts=pts)
    report(arguments)


def pairs(video: Video, restorer: Restorer, size: Size) -> Iterator[tuple[tuple[np.ndarray, int | None], torch.Tensor]]:
    """Each frame of a video with its time stamp, and the same frame restored; holds a window's worth of frames."""
    ahead, behind = itertools.tee(video.frames())
    restored = restorer.restore(resize_frame(frame, size) for frame, _ in ahead)
    for result, source in zip(restored, behind, strict=True):
        yield source, result


def open_writer(path: Path, info: VideoInfo, size: Size) -> VideoWriter:
    """A writer that keeps the rate, pixel shape and sound of a video."""
    return VideoWriter(
        path,
        width=size.width,
        height=size.height,
        rate=info.rate,
        time_base=info.time_base,
        sample_aspect=pixel_shape(info, size),
        sound_of=info.path if info.has_audio else None,
    )


def pixel_shape(info: VideoInfo, size: Size) -> Fraction:
    """Width over height of an output pixel: the input's, unless an exact size with another aspect ratio was asked for.

    Then the pixels change their shape and the picture keeps it.
    """
    change = Fraction(info.width * size.height, info.height * size.width)
    is_rounding = abs(change - 1) * min(size) < 2  # even sides alone
    return info.sample_aspect if is_rounding else (info.sample_aspect * change).limit_denominator(1000)


def build_restorer(arguments: argparse.Namespace) -> Restorer:
    """Find and load the model that the arguments ask for, and say which it is."""
    adapters = chosen_adapters(arguments)
    device = pick_device(arguments.device)
    files = find_model(arguments.model, has_gpu=device.type == "cuda")
    dtype = pick_dtype(arguments.dtype, device)
    color_fix = arguments.color_fix or ("wavelet" if files.released else "none")
    default_window = RELEASED_WINDOW if files.released else OWN_WINDOW
    window = window_latents(default_window if arguments.window is None else arguments.window)
    steps = step_count(arguments.steps, files)
    if arguments.model is None and not files.released:
        reason = f"no released weights in ${WEIGHTS_VARIABLE} or the cache" if device.type == "cuda" else "no GPU"
        say(f"no --model given and {reason}, so the bundled tiny model runs")
    calls = "1 step" if steps == 1 else f"{steps} steps"
    settings = f"{dtype}, {calls}, seed {arguments.seed}, colour fix {color_fix}"
    say(f"model {files.name} ({files.origin}) on {device}, {settings}")
    if adapters is not None:
        say(f"adapters {adapters.path}, strength {'as exported' if adapters.strength is None else adapters.strength}")
    model = load_model(files, device=device, dtype=DTYPES[dtype], posterior=arguments.posterior, adapters=adapters)
    return Restorer(
        model.generator,
        model.codec,
        prompt=model.prompt,
        seed=arguments.seed,
        window=window,
        overlap=min(1, window - 1),
        steps=steps,
        color_fix=color_fix,
        device=device,
        dtype=DTYPES[dtype],
    )


def chosen_adapters(arguments: argparse.Namespace) -> Adapters | None:
    """The adapters asked for; raises UserError for a strength without a file, or one that is no number."""
    strength = arguments.lora_strength
    if strength is not None and arguments.lora is None:
        raise UserError(f"--lora-strength {strength:g} has nothing to scale; give --lora FILE too")
    if strength is not None and not math.isfinite(strength):
        raise UserError(f"--lora-strength {strength} makes no sense; give a number, usually from 0 to 1")
    return None if arguments.lora is None else Adapters(arguments.lora, strength)


def step_count(asked: int | None, files: ModelFiles) -> int:
    """How often the generator is called per window; raises UserError for a number that the model is not made for."""
    if asked is None:
        return files.steps or BASE_STEPS
    if asked < 1:
        raise UserError(f"--steps {asked} makes no sense; give at least 1")
    if files.steps not in (None, asked):
        raise UserError(f"--steps {asked} does not fit {files.name}, which is made for {files.steps}; leave it out")
    return asked


def window_latents(frames: int) -> int:
    """Latent frames of a window of 4k + 1 frames; raises UserError for other numbers."""
    if frames < 1 or frames % TIME != 1:
        nearest = max(1, frames // TIME * TIME + 1)
        raise UserError(f"--window {frames} is not 4k + 1 frames; use for instance {nearest}")
    return frames // TIME + 1


def output_size(arguments: argparse.Namespace, height: int, width: int) -> Size:
    """The output size that the arguments ask for; raises UserError if it, or its side-by-side, makes no sense."""
    size = None if arguments.size is None else parse_size(arguments.size)
    is_default = size is None and arguments.short_side is None and arguments.scale is None
    scale = DEFAULT_SCALE if is_default else arguments.scale
    target = target_size(height, width, scale=scale, short_side=arguments.short_side, size=size)
    if arguments.compare:
        check_size(Size(target.height, 2 * target.width), request="--compare", source=Size(height, width))
    return target


def expected_frames(info: VideoInfo) -> int | None:
    """A guess of the number of frames from what the container says, for the progress bar only."""
    by_time = round(info.duration * info.rate) if info.duration and info.rate else 0
    guesses = [guess for guess in (info.frames, by_time) if guess > 0]
    return min(guesses, default=None)  # edit lists hide frames that the container still counts


def warnings(info: VideoInfo) -> Iterable[str]:
    """What an input loses on its way through 8-bit SDR frames."""
    if info.is_high_dynamic_range:
        yield "this is HDR video, which is not tone-mapped; the output is SDR and its colours will look flat"
    if info.bits > 8:
        yield f"the input has {info.bits} bits per sample, the output has 8"
    if info.is_interlaced:
        yield "the input is interlaced; deinterlace it first for a better result"


def to_bytes(frame: torch.Tensor) -> np.ndarray:
    """(3,H,W) in [-1,1] as uint8 (H,W,3)."""
    return ((frame.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def side_by_side(bicubic: torch.Tensor, restored: torch.Tensor) -> np.ndarray:
    """Two frames (3,H,W) in [-1,1] as one uint8 picture (H,2W,3)."""
    return to_bytes(torch.cat([bicubic, restored], dim=-1))


def report(arguments: argparse.Namespace) -> None:
    """Say what was written."""
    outputs = [arguments.output, compare_path(arguments.output)] if arguments.compare else [arguments.output]
    for path in outputs:
        say(f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB)")


def say(text: str) -> None:
    """Print a line at once, in order with the progress lines of a log."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
