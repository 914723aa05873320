"""The command line of `seedvr2.infer`."""

import argparse
from fractions import Fraction
from pathlib import Path

from seedvr2.errors import Parser
from seedvr2.io.codecs import PICTURES, VIDEO, VIDEO_SUFFIXES
from seedvr2.models.storage import FULL, STORAGES
from seedvr2.restore.device import DTYPES
from seedvr2.restore.loading import IDENTITY, POSTERIORS, VAES
from seedvr2.restore.resize import DEFAULT_SCALE
from seedvr2.restore.shot import COLOR_FIXES

SEGMENT = 120  # frames


def parser() -> argparse.ArgumentParser:
    """The command line's arguments."""
    result = Parser(prog="python -m seedvr2.infer", description="Restore videos and images.")
    add = result.add_argument
    add("--input", nargs="+", required=True, help="videos, images, folders (of frames, or of inputs) or patterns")
    add("--output", type=Path, help="file, or folder for pictures or several inputs; default: NAME_restored beside it")
    add("--overwrite", action="store_true", help="replace existing outputs, and begin unfinished ones anew")
    add("--compare", action="store_true", help="also write NAME_compare: bicubic left, restored right")
    size = result.add_mutually_exclusive_group()
    size.add_argument("--scale", type=float, help=f"output size over input size (default {DEFAULT_SCALE:g})")
    size.add_argument("--short-side", type=int, help="short side of the output in pixels")
    size.add_argument("--size", help="exact output size, WIDTHxHEIGHT")
    names = f"tiny, 3b, 7b, 7b-sharp, seedvr-3b, seedvr-7b, {IDENTITY} (only reads and writes), a folder or file"
    add("--model", help=f"{names}; default: released weights if there are any and a GPU, else tiny")
    add("--models", type=Path, metavar="FILE", help="a table of models of your own (default: $SEEDVR2_MODELS)")
    add("--lora", type=Path, metavar="FILE", help="lora.safetensors of a fine-tuning stage, merged into the model")
    add("--lora-strength", type=float, help="factor of the adapters, 0 for the plain model (default: as exported)")
    add("--seed", type=int, default=0, help="of the noise that restoration starts from (default 0)")
    add("--window", type=int, help="frames restored together, 4k + 1 (default: that of the model)")
    add("--steps", type=int, help="generator calls per window, for multi-step models (default: that of the model)")
    add("--cfg", type=float, help="guidance of multi-step models, 1: none, else twice the time (default: the model's)")
    add("--cfg-rescale", type=float, help="share from 0 to 1 of the guided spread that is taken back (default 0)")
    add("--fidelity", type=float, help="0 (vivid) to 1 (faithful), for models with two ends (default: the model's)")
    add(
        "--color-fix",
        choices=tuple(COLOR_FIXES),
        help="default: the model's; grey for those that you train",
    )
    add("--posterior", choices=POSTERIORS, default="sample", help="of the autoencoder (default sample)")
    add("--vae", choices=VAES, default="fast", help="the autoencoder as fast as can be, or as in training")
    add("--device", help="cpu, cuda, cuda:1, mps, xpu, ... (default: the accelerator if there is one)")
    add("--dtype", choices=tuple(DTYPES), help="of the networks; default: what the device is good at")
    memory = result.add_argument_group("memory")
    memory.add_argument("--plan", action="store_true", help="print what the run will take, and end without loading")
    most = "of the device, 24GB for instance (default: 90%% of what is free)"
    memory.add_argument("--max-memory", metavar="SIZE", help=most)
    stay = "stream the generator's blocks from host memory, all but BLOCKS (default: as many as do not fit)"
    memory.add_argument("--offload", type=int, nargs="?", const=0, metavar="BLOCKS", help=stay)
    stored = "of the generator's large layers; in 8 bits results change slightly (default full)"
    memory.add_argument("--weights", choices=STORAGES, default=FULL, help=f"storage {stored}")
    shots = result.add_argument_group("shots")
    shots.add_argument("--no-shots", action="store_true", help="take the film as one shot")
    shots.add_argument("--cuts", metavar="LIST", help="frames that begin shots, 120,250 or a file; default: found")
    film = result.add_argument_group("the output")
    film.add_argument("--container", choices=VIDEO_SUFFIXES, help="of outputs that are not named (default .mp4)")
    film.add_argument("--codec", choices=tuple(VIDEO), help="default: what suits the ending and the depth")
    film.add_argument("--depth", type=int, help="bits per sample: 8, 10, 12 or 16 (default: that of the codec)")
    film.add_argument("--crf", type=float, help="quality of h264, hevc, vp9 and av1, 0 the best (default 14 for h264)")
    film.add_argument("--preset", help="of the encoder; of prores its profile")
    film.add_argument("--chroma", choices=("4:2:0", "4:2:2", "4:4:4"), help="sampling of colour (default 4:2:0)")
    film.add_argument("--no-alpha", action="store_true", help="leave transparency out")
    film.add_argument("--pictures", choices=tuple(PICTURES), default="png", help="of output folders (default png)")
    film.add_argument("--fps", type=frame_rate, help="frames per second of folders and raw streams (default 24)")
    film.add_argument("--no-deinterlace", action="store_true", help="keep the fields of interlaced video")
    film.add_argument("--segment", type=int, default=SEGMENT, help=f"frames that a kill can cost (default {SEGMENT})")
    ranks = "under torchrun: all processes share each input (the default for one), or take whole inputs in turn"
    add("--ranks", choices=("split", "spread"), help=ranks)
    add("--quiet", action="store_true", help="tell errors only")
    add("--json", action="store_true", help="tell events as JSON, one per line")
    return result


def frame_rate(text: str) -> Fraction:
    """A rate such as 24, 30000/1001 or 29.97003, whose nearest n/1001 is meant; raises ArgumentTypeError for anything
    that is not from 0.01 to 10,000.
    """
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not Fraction(1, 100) <= rate <= 10000:
        raise argparse.ArgumentTypeError(f"{text} is no rate from 0.01 to 10000; write for instance 24 or 30000/1001")
    ntsc = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
    return ntsc if abs(rate - ntsc) < Fraction(1, 10**5) else rate.limit_denominator(10**5)
