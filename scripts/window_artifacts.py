"""Do window edges show at resolutions beyond that of the training (Fig. 4 of the paper)? Fixed and adaptive windows.

    python scripts/window_artifacts.py --out runs/windows [--base 1000] [--updates 150] [--seed 0]
        [--data DIR --val DIR] [--json FILE] [--picture FILE] [--shown N]

Trains both alike (a base, then `ablation/plus_features` or `ablation/fixed_window`) on stills of 128 x 128 pixels, and
restores held-out stills of 1, 2 and 3 times that side. Measured is the squared step of luma from row to row and from
column to column, on the edges of the generator's windows (regular and shifted layers), over that elsewhere: 1 means
that edges do not show. `everywhere` compares with all other rows; `tokens` only with other borders of tokens, which
cancels what the patches and the autoencoder do there. The picture itself and its difference to the ground truth are
measured, and as a control what the autoencoder alone makes of the ground truth, at the same places. Errors are over
stills.
"""

import argparse
import itertools
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from toy_training import SIZES, VAE, Study, codec_of, held_out_keys, held_out_pairs, sampled

from seedvr2.data.batch import Batch
from seedvr2.errors import Parser, UserError, main_guard
from seedvr2.evaluation.luma import luma
from seedvr2.evaluation.runner import hardware
from seedvr2.io.files import write_json
from seedvr2.io.images import write_image
from seedvr2.models.windows import cuts
from seedvr2.randomness import Draws
from seedvr2.training.validation import as_bytes
from seedvr2.training.weights import load_network

TOKEN = 16  # pixels
SIDE = 128  # pixels of training stills: 8 x 8 tokens
SIZE = SIZES["toy"]._replace(
    networks=[value for value in SIZES["toy"].networks if "window" not in value], shapes=((1, SIDE, 1.0, 8),), side=SIDE
)
TIMES = (1, 2, 3)
FIXED = 4  # tokens: as in the paper, the training frame holds one and a half to two and a half of them
WINDOWS = {  # experiment of the adversarial stage, and changes of the configuration
    "adaptive": ("ablation/plus_features", (f"model.trunk.window.area={(SIDE // TOKEN) ** 2}",)),
    "fixed": (
        "ablation/fixed_window",
        (
            "window@model.trunk.window=fixed",
            f"model.trunk.window.extent=[{FIXED},{FIXED}]",
        ),
    ),
}
SHOWN = 192  # pixels of the picture's parts


class Made(NamedTuple):
    """A restored still and what it is compared with: (3, H, W) in [-1, 1]. window: extent in tokens (h, w)."""

    output: Tensor
    truth: Tensor
    lq: Tensor
    control: Tensor
    window: tuple[int, int]


def main() -> None:
    """Train what is missing, measure, print, write."""
    with main_guard("window_artifacts"):
        arguments = parser().parse_args()
        if not 0 <= arguments.shown < arguments.stills:
            raise UserError(f"--shown {arguments.shown} is not one of {arguments.stills} stills, counted from 0")
        study = Study(arguments.out, SIZE._replace(base=arguments.base), arguments.data, arguments.val, arguments.vae)
        runs = {kind: trained(study, kind, arguments.seed, arguments.updates) for kind in WINDOWS}
        made = {
            kind: {times: list(restored(run, arguments.val, SIDE * times, arguments.stills)) for times in TIMES}
            for kind, run in runs.items()
        }
        result = {
            "command": shlex.join(["python", "scripts/window_artifacts.py", *sys.argv[1:]]),
            "hardware": hardware(),
            "windows": {kind: {f"{t}x": list(one[t][0].window) for t in TIMES} for kind, one in made.items()},
            "edges": {kind: {f"{t}x": judged(stills) for t, stills in one.items()} for kind, one in made.items()},
        }
        print(text(result))
        if arguments.json:
            write_json(arguments.json, result)
        if arguments.picture:
            write_image(
                arguments.picture, picture({kind: one[TIMES[-1]][arguments.shown] for kind, one in made.items()})
            )


def parser() -> argparse.ArgumentParser:
    """The command line's arguments."""
    result = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = result.add_argument
    add("--out", type=Path, required=True, help="folder of the study")
    add("--seed", type=int, default=0)
    add("--base", type=int, default=SIZE.base, help=f"updates of each base (default {SIZE.base})")
    add("--updates", type=int, default=150, help="of the generator in adversarial training (default 150)")
    add("--stills", type=int, default=8, help="held-out stills of each size (default 8)")
    add("--data", type=Path, help="folder to train on (default: procedural clips)")
    add("--val", type=Path, help="folder to hold out")
    add("--vae", type=Path, default=VAE)
    add("--json", type=Path)
    add("--shown", type=int, default=0, help="number of the still in the picture, from 0 (default 0)")
    add("--picture", type=Path, help="LQ, autoencoder, adaptive and fixed at the largest size, with differences")
    return result


def trained(study: Study, kind: str, seed: int, updates: int) -> Path:
    """The run of one kind of windows."""
    experiment, changes = WINDOWS[kind]
    base = study.base(seed, *changes, name=f"base_{kind}")
    weights = {"generator": base / "generator.safetensors", "prompts": base / "prompts.safetensors"}
    stage = study.stage("apt", f"iterations={updates}", "accumulate=1", "objective.ema=0.98")
    settings = [f"+experiment={experiment}", *(change for change in changes if "window@" not in change), *stage]
    return study.train(study.out / f"seed{seed}" / f"{kind}_updates{updates}", seed, weights, settings)


@torch.no_grad()
def restored(run: Path, val: Path | None, side: int, count: int) -> Iterator[Made]:
    """Held-out stills of `side` pixels, restored by a run in one step."""
    final, codec = run / "apt" / "final", codec_of(run)
    generator, prompts = (load_network(final / f"{name}.safetensors") for name in ("generator", "prompts"))
    pairs = held_out_pairs(run, val, side)
    for key in held_out_keys(count):
        hq, lq = pairs.draw(key)
        latents = codec.encode(hq), codec.encode(lq)
        (made,) = sampled(generator, prompts, Batch([latents[0]], [latents[1]], [Draws(*key)]), 1)
        output, control = (codec.decode(latent).clamp(-1, 1)[0] for latent in (made, latents[0]))
        yield Made(output, hq[0], lq[0], control, window_of(generator, side // TOKEN))


def window_of(generator: nn.Module, tokens: int) -> tuple[int, int]:
    """Height and width in tokens of the generator's windows on a square still."""
    return tuple(generator.trunk.window((1, tokens, tokens))[1:])


def edges(tokens: int, window: int) -> list[int]:
    """Borders between tokens at which a window of any layer ends, regular or shifted."""
    return sorted({cut for shifted in (False, True) for cut in cuts(tokens, window, shifted)} - {0, tokens})


def steps(plane: Tensor) -> Tensor:
    """Mean squared step into each row but the first of a plane (H, W): (H - 1,), item i is into row i + 1."""
    return (plane[1:] - plane[:-1]).square().mean(1)


def energies(plane: Tensor, window: tuple[int, int]) -> np.ndarray:
    """[[sum, count] of steps on window edges, on other borders of tokens, elsewhere], over rows and columns."""
    found = np.zeros((3, 2))
    for turned, extent in ((plane, window[0]), (plane.T, window[1])):
        tokens, each = len(turned) // TOKEN, steps(turned)
        marks = torch.full((len(each),), 2)
        marks[TOKEN - 1 :: TOKEN] = 1
        for edge in edges(tokens, extent):
            marks[TOKEN * edge - 1] = 0
        for mark in range(3):
            found[mark] += float(each[marks == mark].sum()), int((marks == mark).sum())
    return found


def judged(stills: Sequence[Made]) -> dict[str, dict[str, float | None]]:
    """Ratios by what is measured, over all stills; None where there is nothing to compare with."""
    planes = {"output": [], "difference": [], "control": []}
    for still in stills:
        output, truth, control = (brightness(picture) for picture in (still.output, still.truth, still.control))
        for name, plane in (("output", output), ("difference", output - truth), ("control", control - truth)):
            planes[name].append(energies(plane, still.window))
    return {name: {**ratios(sum(found)), "error": error(found)} for name, found in planes.items()}


def error(found: Sequence[np.ndarray]) -> float | None:
    """Standard error over stills of the ratio to other borders of tokens; None for one still."""
    each = [ratios(one)["tokens"] for one in found]
    return float(np.std(each, ddof=1) / len(each) ** 0.5) if len(each) > 1 and None not in each else None


def ratios(found: np.ndarray) -> dict[str, float | None]:
    """Mean step on window edges over that everywhere else, and over that on other borders of tokens."""
    (edge, edges_), (token, tokens), (rest, rests) = found
    if not edges_:
        return {"everywhere": None, "tokens": None}
    everywhere = (edge / edges_) / ((token + rest) / (tokens + rests))
    return {"everywhere": everywhere, "tokens": (edge / edges_) / (token / tokens) if tokens else None}


def brightness(frame: Tensor) -> Tensor:
    """Luma (H, W) of a frame (3, H, W) in [-1, 1]."""
    return luma((frame.clamp(-1, 1).permute(1, 2, 0) + 1) * 127.5)


def text(result: dict[str, Any]) -> str:
    """The ratios as a table."""
    kinds = ("output", "difference", "control")
    columns = [f"{name}, {where}" for name, where in itertools.product(kinds, ("everywhere", "tokens"))]
    lines = [f"| windows | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for kind, sizes in result["edges"].items():
        for times, found in sizes.items():
            cells = []
            for name in kinds:
                one = {where: "" if value is None else f"{value:.3f}" for where, value in found[name].items()}
                cells += [one["everywhere"], one["tokens"] + (f" ± {one['error']}" if one["error"] else "")]
            extent = "x".join(map(str, result["windows"][kind][times]))
            lines.append(f"| {kind} {times}, windows of {extent} tokens | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(made: dict[str, Made]) -> np.ndarray:
    """uint8: above LQ, what the autoencoder makes of the ground truth, and outputs; below the differences of each to
    the ground truth, twice as strong.
    """
    first = next(iter(made.values()))
    above = [first.lq, first.control, *(still.output for still in made.values())]
    below = [(2 * (part - first.truth)).clamp(-1, 1) for part in above]
    rows = [torch.cat([part[:, :SHOWN, :SHOWN] for part in row], dim=2) for row in (above, below)]
    return as_bytes(torch.cat(rows, dim=1)[None])[0]


if __name__ == "__main__":
    main()
