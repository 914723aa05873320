"""Prove that windows leave no seams: frame-to-frame differences where windows of the generator meet, against the same
places in a run that has the whole clip in one window.

    python scripts/check_seams.py CLIP ... [--model tiny] [--window 17] [--scale 2] [--frames 97]

Restores each clip as one shot, twice, and prints the mean absolute difference (of 255) of the frames on either side of
window boundaries, in both runs, and the ratio. What moves more there than elsewhere does so in both. A clip passes at a
ratio of 1.1, or below 0.25; exit code 1 if one does not. Give clips without cuts.
"""

import argparse
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from seedvr2.errors import main_guard
from seedvr2.io.media import open_media
from seedvr2.models.vae.autoencoder import TIME
from seedvr2.restore.loading import window_latents
from seedvr2.restore.resize import as_samples, resize_frame, target_size
from seedvr2.restore.restorer import Restorer
from seedvr2.restore.search import OWN_WINDOW


def main() -> None:
    """Restore every clip and judge it."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("clips", nargs="+", type=Path)
    arguments.add_argument("--model", default="tiny")
    arguments.add_argument("--window", type=int, default=OWN_WINDOW)
    arguments.add_argument("--scale", type=float, default=2.0)
    arguments.add_argument("--frames", type=int, default=97)
    arguments.add_argument("--dtype", default="fp32")
    options = arguments.parse_args()
    restorer = Restorer(options.model, window=options.window, dtype=options.dtype).shot
    wrong = 0
    for clip in options.clips:
        restorer.window = window_latents(options.window)
        cut = jumps(clip, restorer, options)
        restorer.window = options.frames // TIME + 2  # all of them
        whole = jumps(clip, restorer, options)
        passes = np.mean(cut) <= 1.1 * np.mean(whole) or np.mean(cut) < 0.25
        wrong += not passes
        print(
            f"{clip.name}: at window boundaries {np.mean(cut):.3f} (worst {max(cut):.3f}), there in one window "
            f"{np.mean(whole):.3f}, ratio {np.mean(cut) / max(np.mean(whole), 1e-9):.2f}: "
            f"{'passes' if passes else 'FAILS'}",
            flush=True,
        )
    sys.exit(bool(wrong))


def jumps(clip: Path, restorer, options: argparse.Namespace) -> list[float]:
    """Differences across boundaries of latent frames where windows of the usual length meet."""
    with open_media(clip, bits=8) as media:
        size = target_size(media.info.height, media.info.width, scale=options.scale)
        pictures = islice(media.pictures(), options.frames)
        frames = restorer.restore(resize_frame(picture.rgb, size) for picture in pictures)
        samples = [as_samples(frame, np.uint8).astype(np.float32) for frame in frames]
    step, found = window_latents(options.window) - restorer.overlap, []
    for latent in range(step, (len(samples) - 1) // TIME + 1):
        if latent % step in range(restorer.overlap + 1):
            first = TIME * (latent - 1) + 1  # of this latent frame
            found.append(float(np.abs(samples[first] - samples[first - 1]).mean()))
    return found


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    with main_guard("check_seams"):
        main()
