"""Does a progressive distillation hand over cleanly? Every student beside its first teacher, on held-out latents.

    python scripts/distillation_health.py RUN [--val DIR] [--clips 16] [--json FILE] [--svg FILE]

RUN: folder of a training with stages of distillation. For each of them: the loss of its first and last tenth, and of
what the student makes in its own number of steps the distance (RMSE) to what the first teacher makes in its own, with
guidance and the same noise, and the energy of spatial detail over that of the clean latents. The base in as few steps
as each student is the lower bound. If the run has adversarial training, its result stands beside the last student
(Table 5: distillation only and with adversarial training). --val: files that the run did not see.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from toy_training import average, config_of, held_out_latents, records, sampled, weights_of

from seedvr2.errors import Parser, UserError, main_guard
from seedvr2.evaluation.report_chart import Sweep, chart
from seedvr2.evaluation.runner import hardware
from seedvr2.io.files import whole
from seedvr2.restore.stages import DISTILLED, finished_stages
from seedvr2.training.weights import load_network

COLOURS = ("#0b5cad", "#c2410c")  # student, base
PANEL = (360, 240)  # pixels of report_chart's pictures
TITLES = {
    "rmse": "RMSE to the first teacher",
    "hf": "energy of detail, 1 = clean latents",
    "reduction": "loss, first / last",
}


def main() -> None:
    """Measure, print, write."""
    with main_guard("distillation_health"):
        arguments = parser().parse_args()
        result = health(arguments.run, arguments.val, arguments.clips)
        result = {"command": shlex.join(["python", "scripts/distillation_health.py", *sys.argv[1:]]), **result}
        print(text(result))
        for path, content in {
            arguments.json: json.dumps(result, indent=1) + "\n",
            arguments.svg: picture(result),
        }.items():
            if path is not None:
                with whole(path) as temporary:
                    temporary.write_text(content)


def parser() -> argparse.ArgumentParser:
    """The command line's arguments."""
    result = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("run", type=Path, metavar="RUN")
    result.add_argument("--val", type=Path, help="folder of files that the run did not see")
    result.add_argument("--clips", type=int, default=16, help="held-out clips (default 16)")
    result.add_argument("--json", type=Path)
    result.add_argument("--svg", type=Path)
    return result


@torch.no_grad()
def health(run: Path, val: Path | None, clips: int) -> dict[str, Any]:
    """What the docstring above says. Raises UserError for a run without finished distillation."""
    stages = {final.parent.name: final for final in finished_stages(run)}
    students = {name: DISTILLED.fullmatch(name) for name in stages}
    students = {name: tuple(map(int, match.groups())) for name, match in students.items() if match}
    if not students:
        raise UserError(f"{run} has no finished stage of distillation, such as distill_64to32")
    first, (steps, _) = next(iter(students.items()))
    guidance = float(config_of(run)["stages"][first.rpartition("_")[0]]["guidance"])
    base = weights_of(run).require(
        "base/generator", "initial/teacher", "initial/generator", purpose="students have a base"
    )
    teacher, prompts = load_network(base), load_network(stages[first] / "prompts.safetensors")
    batch = held_out_latents(run, val, clips)
    goal = sampled(teacher, prompts, batch, steps, guidance)

    def judged(made: list[Tensor]) -> dict[str, float]:
        return {"rmse": rmse(made, goal), "to_clean": rmse(made, batch.hq), "hf": detail(made) / detail(batch.hq)}

    rows = []
    for name, (_, count) in students.items():
        made = sampled(load_network(stages[name] / "generator.safetensors"), prompts, batch, count)
        bound = sampled(teacher, prompts, batch, count, guidance)
        rows.append(
            {"stage": name, "steps": count, **loss_of(run, name), "student": judged(made), "base": judged(bound)}
        )
    result = {"run": str(run), "clips": clips, "guidance": guidance, "hardware": hardware(), "stages": rows}
    result["teacher"] = {"steps": steps, **judged(goal)}
    if "apt" in stages:
        made = sampled(load_network(stages["apt"] / "generator.safetensors"), prompts, batch, 1)
        result["table_5"] = {"distillation only": rows[-1]["student"], "with adversarial training": judged(made)}
    return result


def loss_of(run: Path, stage: str) -> dict[str, float | None]:
    """Mean loss of the first and last tenth of what a stage recorded, and their ratio."""
    rows = records(run, stage)
    if not rows:
        return {"first": None, "last": None, "reduction": None}  # the stage was trained in another run
    tenth = max(1, len(rows) // 10)
    first, last = average(rows[:tenth], "loss"), average(rows[-tenth:], "loss")
    return {"first": first, "last": last, "reduction": first / last}


def rmse(made: Sequence[Tensor], goal: Sequence[Tensor]) -> float:
    """Root of the mean squared difference of latents (t, h, w, C)."""
    return float(torch.stack([(a - b).square().mean() for a, b in zip(made, goal, strict=True)]).mean().sqrt())


def detail(latents: Sequence[Tensor]) -> float:
    """Energy of what a latent has beyond its 3 x 3 means, per value."""
    planes = [F.pad(latent.movedim(-1, 1), (1, 1, 1, 1), mode="replicate") for latent in latents]
    return float(torch.stack([(p[..., 1:-1, 1:-1] - F.avg_pool2d(p, 3, 1)).square().mean() for p in planes]).mean())


def text(result: Mapping[str, Any]) -> str:
    """The result as a table."""
    head = ("stage", "loss first", "last", "first / last", "RMSE", "RMSE base", "detail", "detail base")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in result["stages"]:
        values = [row["first"], row["last"], row["reduction"], row["student"]["rmse"], row["base"]["rmse"]]
        values += [row["student"]["hf"], row["base"]["hf"]]
        cells = ["" if value is None else f"{value:.4g}" for value in values]
        lines.append(f"| {row['stage']} | {' | '.join(cells)} |")
    worse = [row["stage"] for row in result["stages"] if row["student"]["rmse"] > row["base"]["rmse"]]
    if worse:
        lines.append(f"farther from the teacher than the base is in as few steps: {', '.join(worse)}")
    teacher = result["teacher"]
    lines.append(
        f"first teacher, {teacher['steps']} steps, guidance {result['guidance']:g}: detail {teacher['hf']:.3f}"
    )
    for name, values in result.get("table_5", {}).items():
        lines.append(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in values.items()))
    return "\n".join(lines)


def picture(result: Mapping[str, Any]) -> str:
    """An SVG: distance, detail and reduction of loss over the student's steps, students and base."""
    methods: dict[str, dict[str, Any]] = {}
    curves: dict[str, list[tuple[float, str]]] = {"student": [], "base": []}
    for row in result["stages"]:
        for curve, points in curves.items():
            name = f"{curve} {row['steps']}"
            points.append((float(row["steps"]), name))
            values = {key: row[curve][key] for key in ("rmse", "hf")}
            values["reduction"] = row["reduction"] if curve == "student" else None
            methods[name] = {"mean": {TITLES[key]: value for key, value in values.items()}}
    sweep = Sweep("steps", {curve: sorted(points) for curve, points in curves.items()})
    panels = [chart({"methods": methods}, sweep, title) for title in TITLES.values()]
    panels = [panel for panel in panels if panel]
    width, height = PANEL
    style = "text{font:11px sans-serif;fill:#1b1f24}.axis{stroke:#d9dee4}.curve{fill:none;stroke-width:2}"
    style += ":root{" + "".join(f"--line-{i}:{colour};" for i, colour in enumerate(COLOURS)) + "}"
    placed = "".join(
        panel.replace("<svg ", f'<svg x="{width * i}" y="16" width="{width}" height="{height}" ', 1)
        for i, panel in enumerate(panels)
    )
    key = "".join(
        f'<text x="{52 + 80 * i}" y="12" style="fill:{colour}">{name}</text>'
        for i, (name, colour) in enumerate(zip(curves, COLOURS, strict=True))
    )
    size, ground = (
        f'width="{width * len(panels)}" height="{height + 16}"',
        '<rect width="100%" height="100%" fill="#fff"/>',
    )
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>{ground}{key}{placed}</svg>\n'


if __name__ == "__main__":
    main()
