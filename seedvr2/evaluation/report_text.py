"""The report as Markdown, fit for a README, and as comma-separated values."""

import csv
import io
import math
import re

from seedvr2.evaluation import context_tables as context
from seedvr2.evaluation import score_tables
from seedvr2.evaluation.results import Results, clip_names, clip_value, metric_names, number
from seedvr2.evaluation.tables import Table

_SPEED = ("seconds", "peak_mb", "frames")


def markdown(results: Results) -> str:
    """The report without pictures; takes completed results."""
    lines = [f"## Evaluation: {_escaped(str(results.get('bench', {}).get('name', 'clips')))}", ""]
    lines += [f"> **{_escaped(sentence)}**\n" for sentence in context.warnings(results)]
    paper = score_tables.paper_tables(results)
    sections = [
        ("", [context.conditions(results)]),
        ("Means", [score_tables.means_table(results)]),
        ("Paired comparison", [score_tables.comparison_table(results)]),
        ("Worst clips", [score_tables.worst_table(results)]),
        ("Clips", [score_tables.clip_table(results, metric) for metric in metric_names(results)]),
        ("Misregistration", [context.offsets_table(results)]),
        ("The paper's numbers", paper),
        ("Speed", [speed, context.paper_speed_table()] if (speed := context.speed_table(results)) else []),
        ("Methods", [context.facts_table(results)]),
        ("Metrics", [context.metrics_table(results)]),
        ("Skipped metrics", [context.skipped_table(results)]),
    ]
    for heading, tables in sections:
        shown = [table for table in tables if table is not None and (table.rows or table.notes)]
        if not shown:
            continue
        lines += [f"### {heading}", ""] if heading else []
        if tables is paper:
            lines += [f"> **{_escaped(context.paper_note(results))}**", ""]
        for table in shown:
            lines += [markdown_table(table), ""]
    return "\n".join(lines).rstrip() + "\n"


def markdown_table(table: Table) -> str:
    """A table with its caption above and its notes below, these alone if it has no rows; the best cells are bold."""
    notes = [_escaped(note) for note in table.notes]
    if not table.rows:
        return "\n\n".join(notes)
    lines = [f"**{_escaped(table.caption)}**", ""] if table.caption else []
    sides = ["---" if all(row[i].order is None for row in table.rows) else "---:" for i in range(len(table.header))]
    lines += [_line(map(_escaped, table.header)), _line(sides)]
    for row in table.rows:
        texts = [f"**{_escaped(c.text)}**" if c.best else _escaped(c.text) for c in row]
        lines.append(_line(f"{text} {_escaped(c.small)}".strip() for text, c in zip(texts, row, strict=True)))
    return "\n\n".join(["\n".join(lines), *notes])


def comma_separated(results: Results) -> str:
    """A header, then per method a line of row "mean" with an empty clip and a line of row "clip" for each of its clips.

    Values have all their digits; what is missing is empty, infinities are inf. The mean line's speed columns hold the
    mean seconds, the largest memory and the sum of frames. Takes completed results.
    """
    metrics, file = metric_names(results), io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["method", "row", "clip", *metrics, *_SPEED])
    for name, method in results["methods"].items():
        means = [number(method["mean"][metric]) for metric in metrics]
        timed = [[number(clip.get(part)) for part in _SPEED] for clip in method.get("speed", {}).values()]
        columns = [[value for value in column if not math.isnan(value)] for column in zip(*timed, strict=True)]
        joins = (lambda known: sum(known) / len(known), max, sum)
        speed = [join(known) if known else math.nan for join, known in zip(joins, columns or [[]] * 3, strict=True)]
        writer.writerow([name, "mean", "", *map(_exact, [*means, *speed])])
        for clip in clip_names(results):
            if clip not in method.get("clips", {}):
                continue
            values = [clip_value(results, name, metric, clip) for metric in metrics]
            speed = [number(method.get("speed", {}).get(clip, {}).get(part)) for part in _SPEED]
            writer.writerow([name, "clip", clip, *map(_exact, [*values, *speed])])
    return file.getvalue()


def _exact(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _line(texts) -> str:
    return f"| {' | '.join(texts)} |"


def _escaped(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_|~\[\]#])", r"\\\1", text)
    return " ".join(text.split())
