"""Prove that a plan foretells memory: eight runs, each in a process of its own, against what the plan says of them.

    python scripts/check_plan.py [--only NUMBER ...] [--report FILE]

On a GPU the most that tensors take counts, on the CPU the increase over a process that has restored a picture before.
The models have random weights, but for the bundled one. Exit code 1 if a prediction is off by over 15 %.
"""

import argparse
import copy
import gc
import json
import shlex
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from provenance import chip

from seedvr2 import config, infer  # before torch: the package sets how PyTorch allocates
from seedvr2.data.procedural import ProceduralClips
from seedvr2.evaluation.runner import commit
from seedvr2.io.files import write_json
from seedvr2.io.images import write_image
from seedvr2.io.media import open_media
from seedvr2.io.writer import VideoWriter
from seedvr2.objectives.objective import Exported
from seedvr2.restore.device import forget_peak, peak_memory
from seedvr2.restore.events import Events
from seedvr2.restore.job import Stop
from seedvr2.restore.loading import Choice
from seedvr2.restore.outputs import pairs
from seedvr2.restore.plan.choose import predict
from seedvr2.restore.plan.prediction import Film
from seedvr2.restore.plan.report import seconds
from seedvr2.restore.plan.settings import Settings
from seedvr2.restore.plan.speed import measure
from seedvr2.restore.planning import task_of
from seedvr2.restore.resize import Size
from seedvr2.restore.restorer import Restorer
from seedvr2.restore.search import BUNDLED, OWN_FILES
from seedvr2.restore.shot import ShotRestorer
from seedvr2.restore.work import restore
from seedvr2.training.weights import BUILDABLE, export, read_metadata

import numpy as np  # isort: skip
import torch  # isort: skip

TOLERANCE = 0.15
WIDE = {"channels": [64, 128, 256, 256], "groups": 32}
WIDE_TRUNK = {
    "width": 768,
    "heads": 12,
    "head_dim": 64,
    "rope": {"_target_": "seedvr2.models.rope.JointRope", "dim": 64},
}


class Case(NamedTuple):
    """A run: model (tiny or wide), size of the output, frames, type, frames of a window, latent frames per call."""

    model: str
    height: int
    width: int
    frames: int
    dtype: str
    window: int
    chunk: int
    weights: str = "full"


CASES = (
    Case("tiny", 360, 640, 25, "fp32", 17, 1),
    Case("tiny", 544, 960, 25, "bf16", 17, 1),
    Case("tiny", 360, 640, 45, "bf16", 33, 4),
    Case("tiny", 272, 480, 33, "fp32", 9, 3),
    Case("tiny", 1080, 1920, 1, "bf16", 17, 1),
    Case("wide", 256, 384, 13, "fp32", 9, 1),
    Case("wide", 288, 512, 13, "bf16", 9, 1),
    Case("wide", 192, 320, 29, "bf16", 17, 2),
)


def main() -> None:
    """Run every case in a process of its own and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, nargs="+", default=range(1, 1 + len(CASES)), help="numbers of cases")
    parser.add_argument("--report", type=Path, help="JSON to write")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)  # in a process of its own: the folder of the case
    options = parser.parse_args()
    if options.run is not None:
        print(json.dumps(run(Case(*json.loads((options.run / "case.json").read_text())), options.run)))
        return
    found = []
    print(f"{'case':57}   foretold   measured   error   time foretold, taken")
    for number in options.only:
        case = CASES[number - 1]
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "case.json").write_text(json.dumps(case))
            command = [sys.executable, __file__, "--run", folder]
            told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        error = told["foretold"] / told["measured"] - 1
        found.append({**case._asdict(), **told, "error": error})
        name = " ".join(map(str, case))
        sizes = f"{told['foretold'] / 1e6:7.0f} MB {told['measured'] / 1e6:7.0f} MB {error:+7.1%}"
        print(f"{number} {name:55} {sizes}  {told['seconds foretold']:6.1f} s {told['seconds']:6.1f} s", flush=True)
    if options.report is not None:
        machine = {
            "processor": chip(is_gpu=torch.cuda.is_available()),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        told = {"command": shlex.join(["python", "scripts/check_plan.py", *sys.argv[1:]]), "commit": commit()}
        write_json(options.report, {**told, "machine": machine, "cases": found})
    sys.exit(max(abs(one["error"]) for one in found) > TOLERANCE)


def run(case: Case, folder: Path) -> dict:
    """Foretell and restore one case; bytes and seconds."""
    restored(*prepared(case._replace(model="tiny", height=16, width=16, frames=1), folder / "warm"))
    source, choice = prepared(case, folder)
    size = Size(case.height, case.width)
    task = task_of(choice, Film(size, size, case.frames))
    plan = predict(task, task.given._replace(chunk=min(case.chunk, task.film.latents)))
    rates = measure(task.device, task.dtype, plan.traced.layers)
    told = {"foretold": plan.needed, "stages": dict(plan.most), "seconds foretold": sum(seconds(plan, rates).values())}
    gc.collect()
    idle = 0 if task.device.type != "cpu" else resident()
    forget_peak(task.device)
    shot = restored(source, choice, plan.settings)
    return {**told, "measured": peak_memory(task.device) - idle, "seconds": sum(shot.seconds.values())}


def restored(source: Path, choice: Choice, settings: Settings | None = None) -> ShotRestorer:
    """What restored a file."""
    events = Events(quiet=True)
    pair = next(iter(pairs([str(source)], source.with_name(f"out_{source.name}"))))
    with open_media(source) as media, Stop() as stop:
        arguments = infer.parser().parse_args(["--input", str(source), "--scale", "1"])
        targets = infer.plan_targets(pair, media, arguments)
        restorer = Restorer.chosen(choice, events, settings)
        restore(media, targets, restorer, {"cuts": [], "segment": 120}, events, stop)
    return restorer.shot


def prepared(case: Case, folder: Path) -> tuple[Path, Choice]:
    """A film (or picture) of drawn scenes and a model."""
    folder.mkdir(exist_ok=True)
    clip = ProceduralClips().clip(np.random.default_rng(0), case.frames, case.height, case.width)
    pictures = (clip * 255).astype(np.uint8)
    source = folder / ("clip.png" if case.frames == 1 else "clip.mp4")
    if case.frames == 1:
        write_image(source, pictures[0])
    else:
        with VideoWriter(source, width=case.width, height=case.height, rate=Fraction(24)) as writer:
            for picture in pictures:
                writer.write(picture)
    model = BUNDLED if case.model == "tiny" else wide(folder / "wide")
    return source, Choice(str(model), dtype=case.dtype, window=case.window, weights=case.weights)


def wide(folder: Path) -> Path:
    """A model folder with wider networks of random weights."""
    networks = {}
    for file in OWN_FILES:
        facts = copy.deepcopy(read_metadata(BUNDLED / file))
        made, name = facts.pop("recipe"), file.split(".")[0]
        if name == "vae":
            made |= WIDE
        if name == "generator":
            made["trunk"] |= WIDE_TRUNK
        recipe = config.build(made, file, allowed=BUILDABLE)
        networks[name] = Exported(recipe(), recipe, facts)
    export(networks, folder)
    return folder


def resident() -> int:
    """Bytes of this process in memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


if __name__ == "__main__":
    main()
