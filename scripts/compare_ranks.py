"""Prove that a number of ranks trains as one process does: the same metrics for the same global batches.

    python scripts/compare_ranks.py [--ranks 4] [--steps 20] [override ...]

Runs `+experiment=debug` in one process, then each of its stages again on several gloo ranks (`parallel=fsdp_sp2`, or
what the overrides say), starting from the single process's exports. Prints the worst difference of every metric and
fails above 1e-4 relative (5 % for the approximated penalties and what is a difference of logits). Takes some minutes.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

STAGES = ("vae", "base", "distill_4to2", "distill_2to1", "apt")
LOOSE = ("/r1", "/r2", "margin", "grad_norm")  # small differences of large numbers


def main() -> None:
    """Run, compare; exit code 1 if a metric differs too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20, help="of every stage")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    settings = ["+experiment=debug", "run.threads=1", "run.device=cpu"]
    for stage in ("vae", "base", "distill", "apt"):
        settings += [f"stages.{stage}.{key}={options.steps}" for key in ("iterations", "save_every", "preview_every")]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(options.ranks)]
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder, "alone")
        train([], [*settings, f"run.dir={alone}"])
        for stage in STAGES:
            split = Path(folder, stage)
            shutil.copytree(alone, split)
            shutil.rmtree(split / stage)
            (split / "metrics.jsonl").unlink()
            train(torchrun, [*settings, f"run.dir={split}", "parallel=fsdp_sp2", *options.overrides])
            failed |= compare(stage, records(alone, stage), records(split, stage))
    sys.exit(failed)


def train(launcher: list[str], arguments: list[str]) -> None:
    """Train to the end."""
    command = [sys.executable, *launcher, "-m", "seedvr2.train", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def records(folder: Path, stage: str) -> list[dict]:
    """The metrics of a stage, by step."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record for record in found if record["stage"] == stage]


def compare(stage: str, alone: list[dict], split: list[dict]) -> bool:
    """Print the worst difference of each metric; returns whether one is too large."""
    if [record["step"] for record in alone] != [record["step"] for record in split]:
        print(f"{stage}: not the same steps were recorded")
        return True
    failed = False
    for name in (name for name in alone[0] if name.startswith(f"{stage}/")):
        share = 5e-2 if any(part in name for part in LOOSE) else 1e-4
        worst = max(abs(a[name] - b[name]) / (share * abs(a[name]) + 1e-6) for a, b in zip(alone, split, strict=True))
        print(f"{name:32s} {worst * share:.1e} of {share:.0e}{'' if worst <= 1 else '  TOO MUCH'}")
        failed |= worst > 1
    return failed


if __name__ == "__main__":
    main()
