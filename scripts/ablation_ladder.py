"""Run Table 3 of the paper at a small size: which ingredient of the recipe earns its place.

    python scripts/ablation_ladder.py --out runs/ladder [--seeds 0 1 2] [--updates 300] [--size toy] [--rungs NAME ...]
        [--data DIR --val DIR] [--json docs/benchmarks/ablation_toy.json]

For each seed: one multi-step base, then every rung from it (`+experiment=ablation/...`) with the same data and the same
number of generator updates, those of the distillation counted. All are scored on the same held-out clips by
`seedvr2.eval`, beside bicubic, the base at 1 and 64 steps, the distilled model and what the VAE alone makes of the
ground truth. Without --data and --val the clips are procedural. Further --rungs change one thing of plus_distill; `all`
stands for the five of the table. Finished parts are skipped.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ladder_report import TABLE_3, idle, markdown, order, table_of
from toy_training import (
    SIZES,
    VAE,
    Study,
    average,
    command,
    held_out_latents,
    model_folder,
    records,
    remember,
    sampled,
    write_frames,
)

from seedvr2.errors import Parser, UserError, main_guard
from seedvr2.evaluation.contract import Settings, versions
from seedvr2.evaluation.footage import clips_in, read_clip
from seedvr2.evaluation.metric import make_metrics
from seedvr2.evaluation.runner import PACKAGES, hardware
from seedvr2.io.files import whole, write_json
from seedvr2.models.codec import LatentCodec
from seedvr2.training.validation import as_bytes
from seedvr2.training.weights import load_network, read_metadata

LAST = "plus_distill"
STEPS = 64
DIVISIONS = 6
SHARE = 0.075  # of all updates, in each division: 1,500 of 20,000 in configs/experiment/ablation
STUDENT = "distill_2to1"
# What people ask the authors: changes of `stages.apt.objective` (or of the discriminator) of plus_distill.
QUESTIONS = {
    "timestep_last": ["timestep_shift=1e9"],
    "timestep_first": ["timestep_shift=1e-9"],
    "timestep_shifted": ["timestep_shift=12"],
    "sigma_0.01": ["sigma=0.01"],
    "sigma_0.3": ["sigma=0.3"],
    "lambda_100": ["r1=100", "r2=100"],
    "lambda_10": ["r1=10", "r2=10"],
    "terms_0.1": ["terms.l1.weight=0.1", "terms.features.weight=0.1"],
    "terms_0": ["terms.l1=null", "terms.features=null"],
    "token_logits": ["discriminator.logits=token"],
    "condition_clean": ["condition_noise.clean_share=1.0"],
    "condition_noisy": ["condition_noise.clean_share=0.0"],
    "critic_from_distilled": [f"discriminator_weights={STUDENT}/generator"],
}
DISTILL_ONLY = "distill_only"  # Table 5: as many updates, all of them distillation
RUNGS = (*TABLE_3, *QUESTIONS, DISTILL_ONLY)
WANTED = ("psnr", "ssim", "vmaf", "hf", "swd", "lpips", "dists")
FIRST_ROWS = ("bicubic", "vae", "base steps=1", f"base steps={STEPS}", "distilled")
GAN_FACTS = ("d/gan", "g/gan", "d/r1", "d/r2", "d/margin", "g/l1", "g/features", "fake_grad_norm/gan_share")
COMPARED = 8  # held-out clips whose outputs are compared with those before adversarial training


class Options(NamedTuple):
    """What results depend on besides the study."""

    updates: int
    guidance: float
    ema: float


def main() -> None:
    """Run what is missing, score it, print and write the table."""
    with main_guard("ablation_ladder"):
        arguments = parser().parse_args()
        names = [name for asked in arguments.rungs for name in (TABLE_3 if asked == "all" else [asked])]
        if wrong := [name for name in names if name not in RUNGS]:
            raise UserError(f"--rungs {wrong[0]} does not exist; use all, {', '.join(RUNGS)}")
        if arguments.updates < 2 * DIVISIONS:
            raise UserError(
                f"--updates {arguments.updates} are too few for {DIVISIONS} divisions; give {2 * DIVISIONS}"
            )
        study = Study(arguments.out, SIZES[arguments.size], arguments.data, arguments.val, arguments.vae)
        options = Options(arguments.updates, arguments.guidance, arguments.ema)
        settings = Settings(weights_dir=arguments.weights_dir)
        by_seed = {seed: one_seed(study, seed, [*dict.fromkeys(names)], options, settings) for seed in arguments.seeds}
        table = table_of(by_seed)
        gans = {
            f"seed {s}, {name}": one["gan"]
            for s, found in by_seed.items()
            for name, one in found.items()
            if "gan" in one
        }
        print(markdown(table, order(table), gans, FIRST_ROWS))
        result = {
            "command": shlex.join(["python", "scripts/ablation_ladder.py", *sys.argv[1:]]),
            "versions": versions(*PACKAGES),
            "hardware": hardware(),
            **options._asdict(),
            **{name: getattr(study.size, name) for name in ("base", "samples", "shapes", "networks", "rates")},
            "table": table,
            "paper": TABLE_3,
            "order": order(table),
            "seeds": by_seed,
        }
        if arguments.json:
            write_json(arguments.json, result)


def parser() -> argparse.ArgumentParser:
    """The command line's arguments."""
    result = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = result.add_argument
    add("--out", type=Path, required=True, help="folder of the study")
    add("--seeds", type=int, nargs="+", default=[0])
    add("--updates", type=int, default=300, help="of the generator, in every rung (default 300)")
    add("--size", choices=list(SIZES), default="toy")
    add("--rungs", nargs="+", default=["all"], metavar="NAME", help=f"all, or of {', '.join(RUNGS)}")
    add("--data", type=Path, help="folder to train on")
    add("--val", type=Path, help="folder to hold out; of each file the middle is taken")
    add("--vae", type=Path, default=VAE, help="VAE of all models (default: the bundled one)")
    add("--guidance", type=float, default=1.5, help="of the first teacher")
    add("--ema", type=float, default=0.98, help="of the generator in adversarial training")
    add("--weights-dir", type=Path, help="weight files of LPIPS and DISTS")
    add("--json", type=Path, help="where to write the results")
    return result


def home_of(study: Study, seed: int, options: Options) -> Path:
    """Folder of the rungs of a seed."""
    return study.out / f"seed{seed}" / f"updates{options.updates}"


def rung(study: Study, seed: int, name: str, options: Options) -> Path:
    """Train one rung; returns its run."""
    base, home = study.base(seed), home_of(study, seed, options)
    weights = {"generator": base / "generator.safetensors", "prompts": base / "prompts.safetensors"}
    division = max(1, round(SHARE * options.updates))
    if name == DISTILL_ONLY:
        settings = distillation(study, options, max(1, options.updates // DIVISIONS))
        return study.train(home / name, seed, weights, ["+stage@stages.distill=distill", *settings])
    is_distilled = name == LAST or name in QUESTIONS
    left = options.updates - (DIVISIONS * division if is_distilled else 0)
    settings = [f"+experiment=ablation/{LAST if name in QUESTIONS else name}", "track.terms_every=10"]
    settings += study.stage("apt", f"iterations={left}", "accumulate=1", f"objective.ema={options.ema}")
    if is_distilled:
        settings += distillation(study, options, division)
    if name in QUESTIONS:
        share_distillation(rung(study, seed, LAST, options), home / name)
    for change in QUESTIONS.get(name, ()):
        settings.append(change if change.startswith("discriminator.") else f"stages.apt.objective.{change}")
    return study.train(home / name, seed, weights, settings)


def distillation(study: Study, options: Options, iterations: int) -> list[str]:
    """Changes of the chain of divisions."""
    settings = study.stage("distill", f"iterations={iterations}", f"guidance={options.guidance}")
    return [*settings, "++stages.distill.accumulate=1"]  # the paper's rungs have 2, a chain by itself no such key


def share_distillation(done: Path, run: Path) -> None:
    """Give a new run the finished divisions of another, so that it goes on behind them."""
    run.mkdir(parents=True, exist_ok=True)
    for stage in done.glob("distill_*"):
        if not (run / stage.name).exists():
            (run / stage.name).symlink_to(stage.resolve())


def one_seed(
    study: Study, seed: int, names: Sequence[str], options: Options, settings: Settings
) -> dict[str, dict[str, Any]]:
    """Scores by method, and for rungs with a GAN what it did."""
    base, home = study.base(seed), home_of(study, seed, options)
    remember(home / "options.json", options._asdict())
    runs = {name: rung(study, seed, name, options) for name in names}
    finals = {name: run / (STUDENT if name == DISTILL_ONLY else "apt") / "final" for name, run in runs.items()}
    if LAST in runs:
        finals["distilled"] = runs[LAST] / STUDENT / "final"
    models = {name: model_folder(home / "models" / name, final, study.vae) for name, final in finals.items()}
    given = [f"--model={name}={path}" for name, path in models.items()]
    found = scores(study, home / "eval", given, settings)
    model = model_folder(study.out / f"seed{seed}" / "models" / "base", base, study.vae)
    sweep = [f"--model=base={model}", f"--sweep=steps=1,{STEPS}"]
    found |= scores(study, study.out / f"seed{seed}" / "eval", sweep, settings)
    found |= scores(study, study.out / "eval_vae", [f"--pred=vae={reconstructions(study)}"], settings)
    for name, run in runs.items():
        if name != DISTILL_ONLY:
            distilled = run / STUDENT / "final"
            found[name]["gan"] = gan_of(run, distilled if distilled.exists() else base, study.val)
    return found


def scores(study: Study, out: Path, given: Sequence[str], settings: Settings) -> dict[str, dict[str, Any]]:
    """Mean scores by method of an evaluation of what `given` names, on the held-out clips."""
    usable, _ = make_metrics(WANTED, settings)
    arguments = [
        "--bench",
        "folder",
        "--gt",
        str(study.held_out()),
        "--out",
        str(out),
        "--cache",
        str(study.out / "lq"),
    ]
    arguments += ["--metrics", ",".join(metric.facts.name for metric in usable), "--workers", "1", *given]
    arguments += ["--device", "cpu", "--dtype", "fp32"]
    if settings.weights_dir:
        arguments += ["--weights-dir", str(settings.weights_dir)]
    command("seedvr2.eval", arguments, out.with_suffix(".log"))
    report = json.loads((out / "report.json").read_text())
    return {name: {"scores": method["mean"]} for name, method in report["methods"].items()}


@torch.no_grad()
def reconstructions(study: Study) -> Path:
    """What the VAE alone makes of the held-out clips: the most that any generator of its latents can reach."""
    folder = study.out / "val_vae"
    if not folder.is_dir():
        codec = LatentCodec(load_network(study.vae), read_metadata(study.vae)["scale"], chunk=2)
        with whole(folder) as temporary:
            temporary.mkdir()
            for name, path in clips_in(study.held_out()).items():
                frames = torch.from_numpy(np.stack(list(read_clip(path)))).permute(0, 3, 1, 2) / 127.5 - 1
                write_frames(temporary / name, list(as_bytes(codec.decode(codec.encode(frames)))))
    return folder


def gan_of(run: Path, start: Path, val: Path | None) -> dict[str, Any]:
    """What the adversarial stage of a run did, over its last quarter. `change`: of the held-out outputs since `start`,
    relative to the deviation of latents. `idle`: signs that the GAN did nothing.
    """
    rows = records(run, "apt")
    found: dict[str, Any] = {name: average(rows[-max(1, len(rows) // 4) :], name) for name in GAN_FACTS}
    batch = held_out_latents(run, val, COMPARED)
    prompts = load_network(start / "prompts.safetensors")
    before, after = (
        torch.stack(sampled(load_network(folder / "generator.safetensors"), prompts, batch, 1))
        for folder in (start, run / "apt" / "final")
    )
    found["change"] = float((after - before).square().mean().sqrt() / before.std())
    return {**found, "idle": idle(found)}


if __name__ == "__main__":
    main()
