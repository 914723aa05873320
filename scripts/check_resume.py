"""Prove that killed training ends with the same bytes: one unbroken run of an experiment against one killed many times.

    python scripts/check_resume.py --kills 10 [--seed 0] [override ...]

Runs `+experiment=debug` (plus overrides) in a temporary folder, the second time with SIGKILL at random moments, and
compares every exported file and every metric. Takes a few minutes.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Run, kill, compare; exit code 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of death")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder, "whole"), Path(folder, "broken")
        start = time.monotonic()
        train(whole, options.overrides).wait()
        seconds = time.monotonic() - start
        print(f"unbroken: {seconds:.0f} s")
        kills = 0
        while not (broken / "apt" / "final").is_dir():
            process = train(broken, options.overrides)
            if kills < options.kills:
                try:
                    process.wait(timeout=moments.uniform(0.1, 1) * seconds / 2)
                except subprocess.TimeoutExpired:
                    process.kill()
                    kills += 1
                    print(f"kill {kills} at {newest(broken)}")
            if process.wait() > 0:
                sys.exit("training failed")
        ours, theirs = digest(whole), digest(broken)
    different = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    print(f"{kills} kills, {len(ours)} files and metrics compared, different: {different or 'none'}")
    sys.exit(bool(different))


def train(folder: Path, overrides: list[str]) -> subprocess.Popen:
    """Start training, or continue it."""
    command = [sys.executable, "-m", "seedvr2.train", "+experiment=debug", f"run.dir={folder}", *overrides]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def newest(folder: Path) -> str:
    """Stage and step of the last metric."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    if not lines:
        return "the very start"
    record = json.loads(lines[-1])
    return f"{record['stage']} step {record['step']}"


def digest(folder: Path) -> dict[str, str]:
    """Hash of every exported file, and every metric without its time."""
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("*/final/*.safetensors")
    }
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        found[f"metrics {record['stage']} {record['step']}"] = json.dumps({**record, "time": 0}, sort_keys=True)
    return found


if __name__ == "__main__":
    main()
