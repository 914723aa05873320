"""Prove that memory does not grow with the length of a film: peak memory of restoring a short and a long one.

    python scripts/bench_memory.py [--frames 20 2000] [--width 320] [--height 180] [infer argument ...]

Makes films of drawn scenes, restores each with `seedvr2.infer` (the bundled model unless --model says otherwise), and
prints the peak resident memory above that of a process that has loaded everything and restored one frame. Exit code 1
if the long film needs over 5 % more than the short one.
"""

import argparse
import subprocess
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np

from seedvr2.data.procedural import ProceduralClips


def main() -> None:
    """Make, restore, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs=2, default=[20, 2000])
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--height", type=int, default=180)
    options, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        idle = peak(Path(folder), 1, options, more)
        found = [peak(Path(folder), count, options, more) for count in options.frames]
    for count, value in zip(options.frames, found, strict=True):
        print(f"{count} frames: {value:.0f} MB, {value - idle:.0f} MB above one frame ({idle:.0f} MB)")
    growth = found[1] / found[0] - 1
    print(f"growth: {growth:+.1%}")
    sys.exit(growth > 0.05)


def peak(folder: Path, frames: int, options: argparse.Namespace, more: list[str]) -> float:
    """Peak resident memory in MB of restoring a film of so many frames."""
    path = folder / f"{frames}.mp4"
    # In a process of its own: on Linux the peak of a process counts for those that it starts.
    maker = get_context("spawn").Process(target=write, args=(path, frames, options.height, options.width))
    maker.start()
    maker.join()
    command = ["--input", str(path), "--output", str(folder / f"{frames}_out.mp4"), "--quiet", *more]
    code = (
        "import resource, sys; from seedvr2 import infer; infer.main(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return int(done.stdout.splitlines()[-1]) * unit / 1e6


def write(path: Path, frames: int, height: int, width: int) -> None:
    """A film of drawn scenes of 50 frames."""
    scenes = ProceduralClips()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "20", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for start in range(0, frames, 50):
            clip = scenes.clip(np.random.default_rng(start), min(50, frames - start), height, width)
            for picture in (clip * 255).astype(np.uint8):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
