"""Show that a number of processes restores the film of one: the worst difference of any sample.

    python scripts/check_ranks.py CLIP [--worlds 2 4] [--dtypes fp32 bf16] [--infer "--scale 2 --model tiny"]

Restores a clip in one process and in several (gloo, on this machine's CPU) into lossless files of 10 bits, and prints
the worst difference in steps of 8 bits, and the share of samples that differ. Exit code 1 if one in fp32 is above 1.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from seedvr2.errors import main_guard
from seedvr2.io.media import open_media


def main() -> None:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--worlds", type=int, nargs="+", default=[2, 4], help="numbers of processes")
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--infer", default="", help="further arguments of infer, as one string")
    options = parser.parse_args()
    with open_media(options.clip):  # or it is the user's mistake
        pass
    more = shlex.split(options.infer)
    wrong = False
    print("dtype  processes  worst  differing", flush=True)
    for dtype in options.dtypes:
        with tempfile.TemporaryDirectory() as folder:
            alone = restored(options.clip, Path(folder, "1.mkv"), 1, ["--dtype", dtype, *more])
            for world in options.worlds:
                ours = restored(options.clip, Path(folder, f"{world}.mkv"), world, ["--dtype", dtype, *more])
                difference = np.abs(ours.astype(np.int32) - alone) * (255 / 65535)
                worst, share = difference.max(), (difference > 0).mean()
                wrong |= dtype == "fp32" and worst > 1
                print(f"{dtype:5s}  {world:9d}  {worst:5.2f}  {share:9.2%}", flush=True)
    sys.exit(bool(wrong))


def restored(clip: Path, output: Path, world: int, settings: list[str]) -> np.ndarray:
    """All frames that a number of processes makes of a clip, uint16 (T,H,W,3)."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)] if world > 1 else []
    files = ["--input", str(clip), "--output", str(output), "--codec", "ffv1", "--depth", "10"]
    command = [sys.executable, *launcher, "-m", "seedvr2.infer", *files, "--device", "cpu", "--quiet", *settings]
    subprocess.run(command, check=True)
    with open_media(output) as media:
        return np.stack([picture.rgb for picture in media.pictures()])


if __name__ == "__main__":
    with main_guard("check_ranks"):
        main()
