"""How time and memory grow with frames and pixels: a picture, and whether they grow as they should."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from charts import Line, draw

from seedvr2.io.files import whole

IN_FRAMES, IN_PIXELS, IN_MEMORY = 0.05, 0.15, 0.05  # largest relative deviations


def report_scaling(rows: Sequence[dict], path: Path) -> list[str]:
    """Draw the rows of a benchmark into an SVG file; sentences that say what is linear or flat, and how far."""
    good = [row for row in rows if "failed" not in row]
    over_frames = _lines(good, "frames", "size", "used")
    over_pixels = _lines(good, "pixels", "frames", "used")
    known = [row for row in good if row["peak_bytes"]]
    memory = _lines(known, "frames", "size", "peak_bytes", 1e-9)
    filled = _lines([row for row in known if row["frames"] > row["window"]], "frames", "size", "peak_bytes")
    charts = [("seconds over frames", over_frames), ("seconds over megapixels", over_pixels)]
    charts += [("peak memory in GB over frames", memory)]
    with whole(path) as temporary:
        temporary.write_text(draw(charts))
    found = [_verdict("time is linear in frames", line, from_line(line), IN_FRAMES) for line in over_frames]
    found += [_verdict("time is linear in pixels", line, from_ratio(line), IN_PIXELS) for line in over_pixels]
    found += [_verdict("memory is flat beyond one window", line, from_flat(line), IN_MEMORY) for line in filled]
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
