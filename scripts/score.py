"""Score a model and bicubic interpolation on clean clips degraded by the test recipe (configs/degradation/test.yaml).

    python scripts/score.py --root DIR [--model tiny] [--frames 32] [--output scores.json]

Every image and clip below DIR is cropped to multiples of 64, degraded x4 with a recorded seed, restored x4, compared
frame by frame: PSNR and SSIM (RGB and luma), VMAF. Prints a table and writes JSON with hardware, versions and command.
"""

import argparse
import hashlib
import json
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from seedvr2 import config
from seedvr2.data.degradation.pipeline import Degradation
from seedvr2.data.listing import frame_files, list_folder
from seedvr2.errors import UserError, main_guard
from seedvr2.evaluation.metric import Metric, make_metrics, score
from seedvr2.io.images import is_image, read_image, write_image
from seedvr2.io.window import count_frames, read_window
from seedvr2.randomness import numpy_generator
from seedvr2.restore.loading import BASE_STEPS
from seedvr2.restore.models import find_model, load_model
from seedvr2.restore.resize import Size, as_samples, resize_frame
from seedvr2.restore.restorer import Restorer

METRICS = ("psnr", "psnr_y", "ssim", "ssim_y", "vmaf")
SCALE = 4
MULTIPLE = 16 * SCALE
LONGEST = 1024  # pixels per side: larger pictures are cropped, so that one does not outweigh all others in time


def main() -> None:
    """Parse, score, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of clean images and clips")
    parser.add_argument("--model", default="tiny", help="tiny, 3b, 7b or a folder (default tiny)")
    parser.add_argument("--frames", type=int, default=32, help="frames of each clip (default 32)")
    parser.add_argument("--seed", type=int, default=0, help="of degradation and restoration (default 0)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--sheets", type=Path, help="folder for pictures: bicubic | restored | original")
    options = parser.parse_args()
    with main_guard("score"):
        degradation = config.build(config.plain(config.load("degradation/test"))["degradation"])
        found = find_model(options.model, has_gpu=False)
        model = load_model(found, device=options.device, dtype=torch.float32, posterior="sample")
        restorer = Restorer(
            model.generator,
            model.codec,
            prompt=model.prompt,
            seed=options.seed,
            device=options.device,
            steps=found.steps or BASE_STEPS,
        )
        metrics, missing = make_metrics(METRICS)
        if missing:
            raise UserError("; ".join(missing.values()))
        clips = tqdm(files(options.root), unit="clip")
        rows = [measure(path, options, degradation, restorer, metrics) for path in clips]
    names = [name for name in rows[0] if name not in ("clip", "lq_sha256")]
    rows.append({"clip": "mean", **{name: float(np.mean([row[name] for row in rows])) for name in names}})
    print("| clip | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for row in rows:
        print(f"| {row['clip']} | " + " | ".join(f"{row[name]:.3f}" for name in names) + " |")
    if options.output:
        options.output.write_text(json.dumps(report(rows), indent=1) + "\n")


def files(root: Path) -> list[Path]:
    """All clips, then all images."""
    listing = list_folder(root)
    return [*listing.clips, *listing.images]


def measure(
    path: Path, options: argparse.Namespace, degradation: Degradation, restorer: Restorer, metrics: list[Metric]
) -> dict[str, float | str]:
    """Scores of bicubic and of the model on one clip."""
    clean = read_clean(path, options.frames)
    lq = degradation(clean.astype(np.float32) / 255, numpy_generator(options.seed, "score", path.name))
    lq = np.round(lq * 255).astype(np.uint8)
    size = Size(*clean.shape[1:3])
    resized = [resize_frame(frame, size) for frame in lq]
    start = time.monotonic()
    restored = np.stack([as_samples(frame, np.uint8) for frame in restorer.restore(resized)])
    seconds = time.monotonic() - start
    bicubic = np.stack([as_samples(frame, np.uint8) for frame in resized])
    if options.sheets:
        middle = len(clean) // 2
        sheet = np.concatenate([bicubic[middle], restored[middle], clean[middle]], axis=1)
        options.sheets.mkdir(parents=True, exist_ok=True)
        write_image(options.sheets / f"{path.stem}.png", sheet)
    row = {"clip": path.stem, "lq_sha256": hashlib.sha256(lq.tobytes()).hexdigest()}
    for name, frames in (("bicubic", bicubic), ("model", restored)):
        row |= {f"{name}_{metric}": value for metric, value in score(metrics, frames, clean).items()}
    return row | {"seconds": seconds}


def read_clean(path: Path, frames: int) -> np.ndarray:
    """The first frames of a clip as uint8 (T, H, W, 3), cropped around the centre."""
    if is_image(path):
        clip = read_image(path)[None]
    elif path.is_dir():
        clip = np.stack([read_image(file) for file in frame_files(path)[:frames]])
    else:
        clip = read_window(path, 0, min(frames, count_frames(path)))
    sides = [min(side, LONGEST) // MULTIPLE * MULTIPLE for side in clip.shape[1:3]]
    if 0 in sides:
        raise UserError(f"{path} is {clip.shape[2]}x{clip.shape[1]}: leave out what is smaller than {MULTIPLE} pixels")
    top, left = ((have - want) // 2 for have, want in zip(clip.shape[1:3], sides, strict=True))
    return clip[:, top : top + sides[0], left : left + sides[1]]


def report(rows: list[dict]) -> dict:
    """Scores with what is needed to repeat them."""
    return {
        "command": " ".join(["python", "scripts/score.py", *sys.argv[1:]]),
        "commit": commit(),
        "hardware": {"machine": platform.machine(), "threads": torch.get_num_threads(), "cuda": torch.version.cuda},
        "versions": {name: version(name) for name in ("seedvr2", "torch", "av", "numpy", "opencv-python-headless")},
        "recipe": "configs/degradation/test.yaml",
        "rows": rows,
    }


def commit() -> str | None:
    """Commit of this checkout, None outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


if __name__ == "__main__":
    main()
