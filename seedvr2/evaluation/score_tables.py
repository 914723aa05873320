"""The report's tables of scores: means, clips, paired comparison, worst clips, and the paper's rows beside ours."""

import numpy as np

from seedvr2.evaluation.paper import BENCHES, paper_rows
from seedvr2.evaluation.results import (
    Results,
    better,
    clip_names,
    clip_value,
    clip_values,
    metric_names,
    number,
    ranking,
)
from seedvr2.evaluation.tables import Cell, Table, decimals, number_cells, range_shown, shown, titled

WORST = 5  # clips


def means_table(results: Results) -> Table:
    """Metrics down, methods across: mean over clips, its 95 % interval below. Takes completed results."""
    methods = results["methods"]
    counts = [len(method.get("clips", {})) for method in methods.values()]
    rows = [[Cell("clips"), *(Cell(str(count), order=count) for count in counts)]]
    notes = []
    for metric in metric_names(results):
        side = better(results, metric)
        values = [number(method["mean"][metric]) for method in methods.values()]
        digits = decimals(values)
        small = [range_shown(method["interval"][metric], digits) for method in methods.values()]
        rows.append([Cell(titled(metric, side)), *number_cells(values, side, digits, small=small)])
        for name, method in methods.items():
            left_out, values = method["left_out"].get(metric, 0), clip_values(results, name, metric)
            if left_out < len(values) or np.isinf(values).any():
                notes += [_left_out(metric, name, left_out, len(values))] if left_out else []
    notes.insert(0, "Mean over clips of each clip's value; in brackets its 95 % bootstrap interval over clips.")
    return Table(["metric", *methods], rows, notes=notes)


def clip_table(results: Results, metric: str) -> Table:
    """One metric: clips down, methods across, the best of each clip marked."""
    methods, side, clips = results["methods"], better(results, metric), clip_names(results)
    columns = [[clip_value(results, name, metric, clip) for name in methods] for clip in clips]
    digits = decimals([value for row in columns for value in row])
    rows = [[Cell(clip), *number_cells(values, side, digits)] for clip, values in zip(clips, columns, strict=True)]
    return Table(["clip", *methods], rows, caption=titled(metric, side))


def comparison_table(results: Results) -> Table | None:
    """Each method against the first one, metric by metric; None with a single method. Takes completed results."""
    first = next(iter(results["methods"]))
    rows = []
    for found in results["comparisons"]:
        difference = number(found["difference"])
        digits = decimals([difference])
        wins, ties, losses = (found[name] for name in ("wins", "ties", "losses"))
        sign = "+" if difference > 0 else ""
        rows.append(
            [
                Cell(titled(found["metric"], better(results, found["metric"]))),
                Cell(found["method"]),
                Cell(f"{wins} / {ties} / {losses}", order=wins - losses),
                Cell(sign + shown(difference, digits), range_shown(found["interval"], digits), order=difference),
                Cell(_chance(found["p"]), order=found["p"], best=found["p"] < 0.05),
                Cell(str(found["clips"]), order=found["clips"]),
            ]
        )
    if not rows:
        return None
    notes = [
        f"Wins, ties and losses count the clips on which the method is better than, equal to and worse than {first}. "
        "p is Wilcoxon's two-sided signed-rank test over clips, bold below 0.05 and not corrected for the number of "
        "comparisons; with n clips it cannot fall below 2^(1-n)."
    ]
    header = ["metric", "method", "wins / ties / losses", "mean difference", "p", "clips"]
    return Table(header, rows, notes=notes)


def worst_table(results: Results) -> Table | None:
    """The worst clips of the method in question with the values of all methods; None if no metric can rank them."""
    metric, subject, clips = ranking(results)
    if len(clips) < 2:
        return None
    side = better(results, metric)
    columns = [[clip_value(results, name, metric, clip) for name in results["methods"]] for clip in clips[:WORST]]
    digits = decimals([value for row in columns for value in row])
    rows = [[Cell(clip), *number_cells(row, side, digits)] for clip, row in zip(clips, columns, strict=False)]
    note = f"The {len(rows)} of {len(clips)} clips with the {_worst(side)} {metric} of {subject}, worst first."
    return Table(["clip", *results["methods"]], rows, caption=titled(metric, side), notes=[note])


def paper_tables(results: Results) -> list[Table]:
    """The paper's rows on this benchmark beside ours, a table for each of the paper's. Takes completed results."""
    bench = str(results.get("bench", {}).get("name", ""))
    rows = paper_rows(bench) if bench in BENCHES else []
    tables = []
    for table in dict.fromkeys(row.table for row in rows):
        theirs = [row for row in rows if row.table == table]
        lines = []
        for metric in theirs[0].values:
            ours = [number(method["mean"].get(metric)) for method in results["methods"].values()]
            printed = [Cell(row.printed[metric], order=row.values[metric]) for row in theirs]
            lines.append(
                [Cell(titled(metric, _PAPER_SIDES[metric])), *number_cells(ours, "", decimals(ours)), *printed]
            )
        header = ["metric", *(f"{name} (this run)" for name in results["methods"]), *(row.method for row in theirs)]
        foreign = frozenset(range(1 + len(results["methods"]), len(header)))
        mark = "" if results.get("comparable") is True else " — not comparable"
        tables.append(Table(header, lines, caption=f"Table {table} of the paper{mark}", foreign=foreign))
    return tables


_PAPER_SIDES = dict.fromkeys(("psnr", "ssim", "musiq", "clipiqa", "dover", "vmaf"), "higher") | dict.fromkeys(
    ("lpips", "dists", "niqe", "warp_error"), "lower"
)


def _left_out(metric: str, method: str, left_out: int, total: int) -> str:
    return (
        f"{metric} of {method}: {left_out} of {total} clips left out of the mean, having no finite value "
        "(undefined, or infinite as for a clip identical to the reference)."
    )


def _worst(side: str) -> str:
    return "lowest" if side == "higher" else "highest"


def _chance(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"
