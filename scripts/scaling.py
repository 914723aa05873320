"""How time and memory grow with frames and pixels: a picture, and whether they grow as they should."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seedvr2.io.files import whole

IN_FRAMES, IN_PIXELS, IN_MEMORY = 0.05, 0.15, 0.05  # largest relative deviations
WIDTH, HEIGHT, EDGE = 420, 300, 56  # of a chart, and its margin
COLORS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8a5a9e", "#b58900", "#444444")


class Line(NamedTuple):
    """Measured points of one setting, in the order of x."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


def report_scaling(rows: Sequence[dict], path: Path) -> list[str]:
    """Draw the rows of a benchmark into an SVG file; sentences that say what is linear or flat, and how far."""
    good = [row for row in rows if "failed" not in row]
    over_frames = _lines(good, "frames", "size", "used")
    over_pixels = _lines(good, "pixels", "frames", "used")
    known = [row for row in good if row["peak_bytes"]]
    memory = _lines(known, "frames", "size", "peak_bytes", 1e-9)
    filled = _lines([row for row in known if row["frames"] >= row["window"]], "frames", "size", "peak_bytes")
    charts = [("seconds over frames", over_frames), ("seconds over megapixels", over_pixels)]
    charts += [("peak memory in GB over frames", memory)]
    with whole(path) as temporary:
        temporary.write_text(_svg(charts))
    found = [_verdict("time is linear in frames", line, from_line(line), IN_FRAMES) for line in over_frames]
    found += [_verdict("time is linear in pixels", line, from_ratio(line), IN_PIXELS) for line in over_pixels]
    found += [_verdict("memory is flat from one window on", line, from_flat(line), IN_MEMORY) for line in filled]
    return [sentence for sentence in found if sentence]


def from_line(line: Line) -> float | None:
    """Largest deviation of the points from a straight line, relative to them; None for fewer than three points."""
    if len(line.x) < 3:
        return None
    x, y = np.asarray(line.x, float), np.asarray(line.y, float)
    slope, start = np.polyfit(x, y, 1, w=1 / y)
    return float(np.abs((slope * x + start) / y - 1).max())


def from_ratio(line: Line) -> float | None:
    """Largest deviation of y / x from the middle of its range; None for fewer than two points."""
    ratios = [y / x for x, y in zip(line.x, line.y, strict=True)]
    return (max(ratios) - min(ratios)) / (max(ratios) + min(ratios)) if len(ratios) > 1 else None


def from_flat(line: Line) -> float | None:
    """Growth from the first point to the largest; None for fewer than two points."""
    return max(line.y) / line.y[0] - 1 if len(line.y) > 1 else None


def _verdict(claim: str, line: Line, deviation: float | None, allowed: float) -> str | None:
    if deviation is None:
        return None
    return f"{'pass' if deviation <= allowed else 'FAIL'}: {claim}, {line.label}: {deviation:.1%} of {allowed:.0%}"


def _lines(rows: Sequence[dict], x: str, fixed: str, y: str, unit: float = 1.0) -> list[Line]:
    def place(row: dict) -> float:
        if x == "frames":
            return row["frames"]
        width, height = map(int, row["size"].split("x"))
        return width * height / 1e6

    def key(row: dict) -> tuple:
        return row["model"], row["stage"], row["autoencoder"], row[fixed]

    found = []
    for (model, stage, path, value), members in itertools.groupby(sorted(rows, key=key), key=key):
        points = sorted((place(row), row[y] * unit) for row in members)
        label = f"{model} {stage}, {path} autoencoder, {value}{' frames' if fixed == 'frames' else ''}"
        if len(points) > 1:
            found.append(Line(label, *map(list, zip(*points, strict=True))))
    return found


def _svg(charts: list[tuple[str, list[Line]]]) -> str:
    rows = max((len(lines) for _, lines in charts), default=0)
    height = HEIGHT + 16 * rows + EDGE
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * len(charts)}" height="{height}"']
    parts += ['font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="white"/>']
    for number, (title, lines) in enumerate(charts):
        parts += [f'<g transform="translate({number * WIDTH},0)">', *_chart(title, lines), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _chart(title: str, lines: list[Line]) -> list[str]:
    most_x = max((max(line.x) for line in lines), default=1.0)
    most_y = max((max(line.y) for line in lines), default=1.0)

    def at(x: float, y: float) -> str:
        return f"{EDGE + x / most_x * (WIDTH - 1.5 * EDGE):.1f},{HEIGHT - y / most_y * (HEIGHT - EDGE):.1f}"

    parts = [f'<text x="{EDGE}" y="20" font-size="13">{title}</text>']
    parts += [f'<path d="M{at(0, most_y)} L{at(0, 0)} L{at(most_x, 0)}" fill="none" stroke="#999"/>']
    for share in (0, 0.5, 1):
        (left, top), (x, _) = at(0, share * most_y).split(","), at(share * most_x, 0).split(",")
        parts += [f'<text x="{float(left) - 6}" y="{top}" text-anchor="end">{share * most_y:.3g}</text>']
        parts += [f'<text x="{x}" y="{HEIGHT + 16}" text-anchor="middle">{share * most_x:.3g}</text>']
    for number, line in enumerate(lines):
        color = COLORS[number % len(COLORS)]
        points = [at(x, y) for x, y in zip(line.x, line.y, strict=True)]
        parts += [f'<path d="M{" L".join(points)}" fill="none" stroke="{color}"/>']
        parts += [f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="3" fill="{color}"/>' for p in points]
        parts += [f'<text x="{EDGE}" y="{HEIGHT + 36 + 16 * number}" fill="{color}">{line.label}</text>']
    return parts
