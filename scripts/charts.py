"""Line charts side by side in one SVG file, without a plotting library."""

from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT, EDGE = 420, 300, 56  # of a chart, and its margin
COLORS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8a5a9e", "#b58900", "#444444")
MARKED = 30  # points at most that get a dot each


class Line(NamedTuple):
    """Points of one curve, in the order of x."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


def draw(charts: Sequence[tuple[str, Sequence[Line]]], *, columns: int | None = None, from_zero: bool = True) -> str:
    """An SVG of titled charts. columns: charts in a row, None for all. from_zero: whether y begins at 0."""
    columns = columns or len(charts)
    height = HEIGHT + 16 * max((len(lines) for _, lines in charts), default=0) + EDGE
    rows = [charts[first : first + columns] for first in range(0, len(charts), columns or 1)]
    size = f'width="{WIDTH * columns}" height="{height * len(rows)}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}']
    parts += ['font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="white"/>']
    for row, members in enumerate(rows):
        for column, (title, lines) in enumerate(members):
            place = f"translate({column * WIDTH},{row * height})"
            parts += [f'<g transform="{place}">', *_chart(title, lines, from_zero), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _chart(title: str, lines: Sequence[Line], from_zero: bool) -> list[str]:
    most_x = max((max(line.x) for line in lines), default=1.0)
    high = max((max(line.y) for line in lines), default=1.0)
    low = 0.0 if from_zero else min((min(line.y) for line in lines), default=0.0)
    span = high - low or 1.0

    def at(x: float, y: float) -> str:
        return f"{EDGE + x / most_x * (WIDTH - 1.5 * EDGE):.1f},{HEIGHT - (y - low) / span * (HEIGHT - EDGE):.1f}"

    parts = [f'<text x="{EDGE}" y="20" font-size="13">{title}</text>']
    parts += [f'<path d="M{at(0, high)} L{at(0, low)} L{at(most_x, low)}" fill="none" stroke="#999"/>']
    for share in (0, 0.5, 1):
        (left, top), (x, _) = at(0, low + share * span).split(","), at(share * most_x, low).split(",")
        parts += [f'<text x="{float(left) - 6}" y="{top}" text-anchor="end">{low + share * span:.3g}</text>']
        parts += [f'<text x="{x}" y="{HEIGHT + 16}" text-anchor="middle">{share * most_x:.3g}</text>']
    for number, line in enumerate(lines):
        color = COLORS[number % len(COLORS)]
        points = [at(x, y) for x, y in zip(line.x, line.y, strict=True)]
        parts += [f'<path d="M{" L".join(points)}" fill="none" stroke="{color}"/>']
        if len(points) <= MARKED:
            parts += [f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="3" fill="{color}"/>' for p in points]
        parts += [f'<text x="{EDGE}" y="{HEIGHT + 36 + 16 * number}" fill="{color}">{line.label}</text>']
    return parts
