"""Small test sets on the disk, for the tests of evaluation: detailed pictures that move, in any layout."""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from seedvr2.evaluation.benchmark import Bench, load_bench
from seedvr2.io.images import write_image
from seedvr2.io.writer import VideoWriter

FRAMES, HEIGHT, WIDTH = 4, 64, 128


def moving(seed: int, frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> list[np.ndarray]:
    """A camera pan over a texture, with a patch that moves the other way; uint8 (height, width, 3) each."""
    rng = np.random.default_rng(seed)
    fine = cv2.GaussianBlur(rng.normal(0, 200, (height, width + 3 * frames, 3)).astype(np.float32), (0, 0), 1.5)
    coarse = cv2.resize(rng.uniform(60, 200, (5, 7, 3)).astype(np.float32), (width + 3 * frames, height))
    wide = np.clip(coarse + fine, 0, 255).astype(np.uint8)
    clip = [wide[:, 3 * time : 3 * time + width].copy() for time in range(frames)]
    for time, frame in enumerate(clip):
        top, left = height // 4 + 2 * time, width // 2 - 2 * time
        frame[top : top + height // 3, left : left + width // 4] = 255 - wide[: height // 3, : width // 4]
    return clip


def write_folder(folder: Path, clip: Sequence[np.ndarray], *, first: int = 0) -> Path:
    """The frames as 00000000.png and so on, numbered from `first`."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(clip, first):
        write_image(folder / f"{number:08d}.png", frame)
    return folder


def write_video(path: Path, clip: Sequence[np.ndarray], *, is_lossless: bool = True) -> Path:
    """The frames as a video of 25 frames per second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = clip[0].shape[:2]
    with VideoWriter(path, width=width, height=height, rate=Fraction(25), is_lossless=is_lossless) as writer:
        for frame in clip:
            writer.write(frame)
    return path


def reduced_by_4(clip: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A plain LQ of a quarter of the height and width."""
    return [cv2.resize(frame, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA) for frame in clip]


def small(name: str, **changes) -> Bench:
    """A test set that is complete with 3 clips of 4 frames."""
    return dataclasses.replace(load_bench(name), **{"clips": 3, "frames": FRAMES, **changes})
