"""What a ladder of ablations found: means over seeds, the paper's order against ours, and GANs that do nothing."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

TABLE_3 = {  # of the paper, on YouHQ40
    "nonsat_r1": {"psnr": 22.55, "ssim": 0.612, "lpips": 0.310, "dists": 0.136},
    "rpgan_r1_r2": {"psnr": 22.56, "ssim": 0.603, "lpips": 0.278, "dists": 0.109},
    "plus_l1": {"psnr": 22.91, "ssim": 0.616, "lpips": 0.251, "dists": 0.099},
    "plus_features": {"psnr": 22.91, "ssim": 0.620, "lpips": 0.244, "dists": 0.092},
    "plus_distill": {"psnr": 23.96, "ssim": 0.667, "lpips": 0.227, "dists": 0.097},
}
SAME = {"psnr": 0.02}  # dB: smaller steps of the paper say nothing
UNCHANGED, NO_GAP, FLOOR, NO_PULL = 0.01, 1e-3, 1e-9, 0.05  # below these a GAN does nothing

Table = Mapping[str, Mapping[str, Mapping[str, float | None]]]  # method -> metric -> mean, spread


def idle(found: Mapping[str, float | None]) -> list[str]:
    """Signs that a GAN does nothing: unchanged outputs, no gap between logits, penalties at the floor, no pull."""
    signs = []
    if found["change"] < UNCHANGED:
        signs.append(f"outputs unchanged ({found['change']:.1e})")
    if abs(found["d/margin"]) < NO_GAP:
        signs.append(f"logit gap {found['d/margin']:.1e}")
    if max(found["d/r1"], found["d/r2"]) < FLOOR:
        signs.append(f"penalties at the floor ({found['d/r1']:.1e}, {found['d/r2']:.1e})")
    share = found.get("fake_grad_norm/gan_share")
    if share is not None and share < NO_PULL:
        signs.append(f"only {share:.1%} of the pull at the generated latents")
    return signs


def table_of(by_seed: Mapping[int, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Mean and spread (standard deviation, None for one seed) over seeds, by method and metric."""
    table: dict[str, dict[str, dict[str, float | None]]] = {}
    for name in dict.fromkeys(name for found in by_seed.values() for name in found):
        rows = [found[name]["scores"] for found in by_seed.values() if name in found]
        for metric in rows[0]:
            values = [row[metric] for row in rows]
            if None not in values:
                spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
                table.setdefault(name, {})[metric] = {"mean": float(np.mean(values)), "spread": spread}
    return table


def order(table: Table) -> list[str]:
    """For each step up the ladder and each metric of Table 3 that is there, whether it goes the paper's way."""
    found, present = [], [name for name in TABLE_3 if name in table]
    for before, after in itertools.pairwise(present):
        for metric, printed in TABLE_3[after].items():
            if metric not in table[before]:
                continue
            old, new = table[before][metric], table[after][metric]
            theirs, ours = printed - TABLE_3[before][metric], new["mean"] - old["mean"]
            word = "as in the paper" if theirs * ours > 0 else "NOT as in the paper"
            if abs(theirs) < SAME.get(metric, 0):
                word = "the paper has no difference"
            spread = max(old["spread"] or 0.0, new["spread"] or 0.0)
            doubt = ", within the spread of seeds" if abs(ours) <= spread else ""
            found.append(f"{before} -> {after}: {metric} {ours:+.3f}, paper {theirs:+.3f}: {word}{doubt}")
    return found


def markdown(
    table: Table, sentences: Sequence[str], gans: Mapping[str, Mapping[str, Any]], first: Sequence[str]
) -> str:
    """The table beside the paper's, the order, and what the GANs did; `first`: methods to begin with."""
    metrics = list(dict.fromkeys(metric for row in table.values() for metric in row))
    printed = list(TABLE_3["nonsat_r1"])
    names = [name for name in dict.fromkeys([*first, *TABLE_3, *table]) if name in table]
    lines = [f"| method | {' | '.join([*metrics, *(f'paper {name}' for name in printed)])} |"]
    lines.append("|---" * (1 + len(metrics) + len(printed)) + "|")
    for name in names:
        paper = [f"{TABLE_3[name][metric]:g}" if name in TABLE_3 else "" for metric in printed]
        lines.append(f"| {name} | {' | '.join([*(shown(table[name].get(metric)) for metric in metrics), *paper])} |")
    lines += ["", *sentences, ""]
    for name, found in gans.items():
        verdict = f"THE GAN DOES NOTHING: {', '.join(found['idle'])}" if found["idle"] else "the GAN works"
        facts = ", ".join(f"{key} {value:.3g}" for key, value in found.items() if isinstance(value, float))
        lines.append(f"{name}: {verdict}; {facts}")
    return "\n".join(lines)


def shown(cell: Mapping[str, float | None] | None) -> str:
    """Mean and spread of a cell, empty without."""
    if cell is None or not math.isfinite(cell["mean"]):
        return ""
    return f"{cell['mean']:.3f}" + (f" ± {cell['spread']:.3f}" if cell["spread"] is not None else "")
