"""Prove that restoring a film survives kills: random SIGKILLs, and the same command to the end.

    python scripts/check_restart.py --input clip.mp4 [--kills 10] [--seed 0] [infer argument ...]

Restores the clip once without disturbance and once with kills at random moments, and compares every decoded frame,
time stamp and other stream. Further arguments go to `seedvr2.infer`. Exit code 1 if anything differs, or if a frame
of a finished segment was restored again.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from seedvr2.errors import main_guard
from seedvr2.io.media import open_media


def main() -> None:
    """Restore, kill, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of death")
    options, more = parser.parse_known_args()
    with open_media(options.input):  # or it is the user's mistake
        pass
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, name) for name in ("whole.mkv", "broken.mkv")]
        commands = [
            [sys.executable, "-m", "seedvr2.infer", "--input", str(options.input), "--output", str(output), *more]
            for output in outputs
        ]
        start = time.monotonic()
        subprocess.run(commands[0], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.monotonic() - start
        print(f"undisturbed: {seconds:.0f} s", flush=True)
        work = outputs[1].with_name(f".{outputs[1].name}.work")
        for kill in range(options.kills):
            process = subprocess.Popen(commands[1], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(moments.uniform(0.05, 1.0) * seconds)
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                done = sorted(path.name for path in work.glob("segment-*")) if work.is_dir() else []
                print(f"kill {kill + 1}: {len(done)} segments finished", flush=True)
        if not outputs[1].exists():
            subprocess.run(commands[1], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wrong = differences(*outputs)
        print("different: " + (", ".join(wrong) or "nothing"))
        print(f"left behind: {', '.join(path.name for path in Path(folder).glob('.*')) or 'nothing'}")
    sys.exit(bool(wrong))


def differences(one: Path, two: Path) -> list[str]:
    """What differs between two films."""
    with open_media(one) as first, open_media(two) as second:
        count = 0
        for count, (a, b) in enumerate(zip(first.pictures(), second.pictures(), strict=True), 1):
            if not np.array_equal(a.rgb, b.rgb) or a.pts != b.pts:
                return [f"frame {count - 1}"]
    print(f"{count} frames compared")
    return [] if packets(one) == packets(two) else ["other streams"]


def packets(path: Path) -> list[bytes]:
    """The packets of all streams but the pictures."""
    with av.open(str(path)) as container:
        others = [stream for stream in container.streams if stream.type in ("audio", "subtitle")]
        return [bytes(packet) for packet in container.demux(*others)] if others else []


if __name__ == "__main__":
    with main_guard("check_restart"):
        main()
