"""Prove that killed training ends with the same bytes: one unbroken run of an experiment against one killed many times.

    python scripts/check_resume.py --kills 10 [--seed 0] [override ...]

Runs `+experiment=debug` (plus overrides) in a temporary folder, the second time with SIGKILL at random moments: at any
time, while a checkpoint is being written, and where one stage hands over to the next, in turn. Compares every exported
file and every metric, and counts the steps that each kill cost. Takes a few minutes.
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

import yaml

KINDS = ("at any time", "during a save", "at a hand-over")


def main() -> None:
    """Run, kill, compare; exit code 1 if anything differs or more than `save_every` steps are lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of death")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder, "whole"), Path(folder, "broken")
        start = time.monotonic()
        if train(whole, options.overrides).wait():
            sys.exit("training failed")
        seconds = time.monotonic() - start
        print(f"unbroken: {seconds:.0f} s", flush=True)
        kills, costly, last = 0, 0, newest(whole)[0]
        while not (broken / last / "final").is_dir():
            process = train(broken, options.overrides)
            if kills < options.kills and wait_for(KINDS[kills % 3], process, broken, moments, seconds):
                process.kill()
                process.wait()
                kills += 1
                lost, allowed = cost(broken)
                costly += lost > allowed
                print(f"kill {kills} {KINDS[(kills - 1) % 3]}: {newest(broken)}, {lost} steps lost", flush=True)
            elif process.wait():
                sys.exit("training failed")
        ours, theirs = digest(whole), digest(broken)
    different = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    print(f"{kills} kills, {len(ours)} files and metrics compared, different: {different or 'none'}")
    print(f"kills that cost more than save_every steps: {costly}")
    sys.exit(bool(different or costly or kills < options.kills))


def train(folder: Path, overrides: list[str]) -> subprocess.Popen:
    """Start training, or continue it."""
    command = [sys.executable, "-m", "seedvr2.train", "+experiment=debug", f"run.dir={folder}", *overrides]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def wait_for(kind: str, process: subprocess.Popen, folder: Path, moments: random.Random, seconds: float) -> bool:
    """Wait for a moment of a kind; False if training ended before."""
    finals = set(folder.glob("*/final"))
    start, pause = time.monotonic(), moments.uniform(0.1, 1) * seconds / 2
    while process.poll() is None:
        if kind == "during a save" and any(folder.glob("*/checkpoints/.*.part")):
            time.sleep(moments.uniform(0, 0.02))
            return True
        if kind == "at a hand-over" and (set(folder.glob("*/final")) - finals or any(folder.glob("*/.final.part"))):
            time.sleep(moments.uniform(0, 0.5))
            return True
        if kind == "at any time" and time.monotonic() - start > pause:
            return True
        time.sleep(0.002)
    return False


def records(folder: Path) -> list[dict]:
    """All metrics; a last line that was cut off is left out."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def newest(folder: Path) -> tuple[str, int]:
    """Stage and step of the last metric."""
    found = records(folder)
    return (found[-1]["stage"], found[-1]["step"]) if found else ("the very start", 0)


def cost(folder: Path) -> tuple[int, int]:
    """Steps recorded since what a continued run will start from, and how many the configuration allows."""
    stage, step = newest(folder)
    if step == 0 or (folder / stage / "final").is_dir():
        return 0, 0
    saved = max((int(path.name) for path in (folder / stage / "checkpoints").glob("[0-9]*")), default=0)
    parts = yaml.safe_load((folder / "config.yaml").read_text())["stages"].values()
    allowed = next(part["save_every"] for part in parts if f"{stage}_".startswith(part["name"] + "_"))
    return step - saved, allowed


def digest(folder: Path) -> dict[str, str]:
    """Hash of every exported file, and every metric without its time."""
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("*/final/*.safetensors")
    }
    for record in records(folder):
        found[f"metrics {record['stage']} {record['step']}"] = json.dumps({**record, "time": 0}, sort_keys=True)
    return found


if __name__ == "__main__":
    main()
