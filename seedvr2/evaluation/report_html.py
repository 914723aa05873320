"""The report as one HTML page that needs nothing but itself."""

import math
from dataclasses import replace
from html import escape

from seedvr2.evaluation import context_tables as context
from seedvr2.evaluation import report_pictures, score_tables
from seedvr2.evaluation.report_chart import sweep_charts
from seedvr2.evaluation.report_style import SCRIPT, STYLE
from seedvr2.evaluation.results import Results, metric_names
from seedvr2.evaluation.tables import Cell, Table


def html_page(results: Results) -> str:
    """The whole page; takes completed results."""
    title = f"Evaluation: {results.get('bench', {}).get('name', 'clips')}"
    parts = [(heading, body) for heading, body in _sections(results) if body]
    links = "".join(f'<a href="#{_anchor(heading)}">{escape(heading)}</a>' for heading, _ in parts)
    banners = "".join(f'<p class="banner">{escape(sentence)}</p>' for sentence in context.warnings(results))
    sections = "".join(f'<h2 id="{_anchor(heading)}">{escape(heading)}</h2>\n{body}\n' for heading, body in parts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{banners}
{html_table(context.conditions(results), kind="prose conditions", headed=False)}
<nav>{links}</nav>
{sections}<script>{SCRIPT}</script>
</body>
</html>
"""


def html_table(table: Table | None, *, kind: str = "", headed: bool = True) -> str:
    """A table that scrolls sideways where the screen is too narrow; without rows its notes alone; "" for None."""
    if table is None:
        return ""
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    if not table.rows:
        return notes
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    heads = "".join(
        f"<th{_classes(foreign=i in table.foreign, text=_is_text(table, i))}>{escape(head)}</th>"
        for i, head in enumerate(table.header)
    )
    rows = "".join(
        f"<tr><th>{escape(row[0].text)}</th>"
        + "".join(_cell(cell, i in table.foreign) for i, cell in enumerate(row[1:], 1))
        + "</tr>\n"
        for row in table.rows
    )
    head = f"<thead><tr>{heads}</tr></thead>" if headed else ""
    return f'<div class="wide"><table class="{kind}">{caption}{head}<tbody>\n{rows}</tbody></table></div>{notes}'


def _sections(results: Results) -> list[tuple[str, str]]:
    paper = "".join(map(html_table, score_tables.paper_tables(results)))
    if paper:
        paper = f'<p class="banner">{escape(context.paper_note(results))}</p>{paper}'
    speed = html_table(context.speed_table(results))
    return [
        ("Means", html_table(score_tables.means_table(results))),
        ("Sweep", sweep_charts(results)),
        ("Paired comparison", html_table(score_tables.comparison_table(results), kind="sortable")),
        ("Worst clips", html_table(score_tables.worst_table(results)) + report_pictures.crops(results)),
        ("Temporal profiles", report_pictures.profiles(results)),
        ("Clips", _clips(results)),
        ("Misregistration", html_table(context.offsets_table(results), kind="sortable")),
        ("The paper's numbers", paper),
        ("Speed", speed and speed + html_table(context.paper_speed_table())),
        ("Methods", html_table(context.facts_table(results), kind="prose")),
        ("Metrics", html_table(context.metrics_table(results), kind="prose")),
        ("Skipped metrics", html_table(context.skipped_table(results), kind="prose")),
    ]


def _clips(results: Results) -> str:
    parts = []
    for position, metric in enumerate(metric_names(results)):
        table = score_tables.clip_table(results, metric)
        body = html_table(replace(table, caption=""), kind="sortable")
        opened = "" if position else " open"
        parts.append(body and f"<details{opened}><summary>{escape(table.caption)}</summary>{body}</details>")
    hint = '<p class="note">A click on a heading sorts by its column.</p>'
    return hint + "".join(parts) if any(parts) else ""


def _cell(cell: Cell, foreign: bool) -> str:
    text = escape(cell.text) + (f"<small>{escape(cell.small)}</small>" if cell.small else "")
    order = "" if cell.order is None else f' data-order="{_plain(cell.order)}"'
    return f"<td{_classes(best=cell.best, foreign=foreign, text=cell.order is None)}{order}>{text}</td>"


def _plain(value: float) -> str:
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"  # as JavaScript reads it
    return repr(float(value)).replace("nan", "NaN")


def _is_text(table: Table, column: int) -> bool:
    return all(row[column].order is None for row in table.rows)


def _classes(**present: bool) -> str:
    names = [name for name, here in present.items() if here]
    return f' class="{" ".join(names)}"' if names else ""


def _anchor(heading: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in heading.lower())
