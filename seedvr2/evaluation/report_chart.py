"""Line charts of a sweep as inline SVG, one per metric: the speed-quality trade-off of the paper's Fig. 10."""

import math
from collections.abc import Callable
from html import escape
from typing import NamedTuple

from seedvr2.evaluation.results import Results, better, metric_names, number
from seedvr2.evaluation.tables import decimals, shown, titled

_WIDTH, _HEIGHT = 360, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 24, 40  # margins in pixels
_COLOURS = 6  # that the style sheet knows
_DASHES = ("none", "6 3", "2 3", "8 3 2 3")


class Sweep(NamedTuple):
    """A setting that was swept: its name, and {curve: [(setting, method), …]} by rising setting."""

    setting: str
    curves: dict[str, list[tuple[float, str]]]


def sweeps(results: Results) -> list[Sweep]:
    """The sweeps among the methods, told by facts {"sweep": {setting: number}}; the curve's name lacks the setting."""
    found: dict[str, dict[str, list[tuple[float, str]]]] = {}
    for name, method in results["methods"].items():
        for setting, value in method.get("facts", {}).get("sweep", {}).items():
            curve = name.removesuffix(f"{setting}={value}").strip(" ,:") or name
            found.setdefault(setting, {}).setdefault(curve, []).append((float(value), name))
    return [
        Sweep(setting, {curve: sorted(points) for curve, points in curves.items()}) for setting, curves in found.items()
    ]


def sweep_charts(results: Results) -> str:
    """For each sweep a key of its curves and an SVG for every metric with values. Takes completed results."""
    parts = []
    for sweep in sweeps(results):
        pictures = "".join(chart(results, sweep, metric) for metric in metric_names(results))
        key = "".join(f"<span>{_sample(index)} {escape(name)}</span>" for index, name in enumerate(sweep.curves))
        parts.append(f'<p class="key">{key}</p><div class="charts">{pictures}</div>' if pictures else "")
    return "".join(parts)


def chart(results: Results, sweep: Sweep, metric: str) -> str:
    """One SVG: the setting to the right (evenly spaced), the mean of the metric upwards; "" without any value."""
    curves = {
        name: [(x, number(results["methods"][method]["mean"].get(metric))) for x, method in points]
        for name, points in sweep.curves.items()
    }
    curves = {name: [(x, y) for x, y in points if not math.isnan(y)] for name, points in curves.items()}
    heights = [y for points in curves.values() for _, y in points]
    if not heights:
        return ""
    settings = sorted({x for points in curves.values() for x, _ in points})
    low, high = min(heights), max(heights)
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - margin, high + margin

    def place(x: float, y: float) -> tuple[float, float]:
        across = settings.index(x) / (len(settings) - 1) if len(settings) > 1 else 0.5
        return (
            _LEFT + 10 + across * (_WIDTH - _LEFT - _RIGHT - 20),
            _HEIGHT - _BOTTOM - (y - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM),
        )

    title = escape(titled(metric, better(results, metric)))
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">']
    parts.append(f'<text x="{_LEFT}" y="14" font-weight="600">{title}</text>')
    parts += _axes(sweep.setting, settings, (low, high), place)
    for index, points in enumerate(curves.values()):
        parts += _curve(index, [place(x, y) for x, y in points])
    return "".join([*parts, "</svg>"])


def _axes(
    setting: str,
    settings: list[float],
    limits: tuple[float, float],
    place: Callable[[float, float], tuple[float, float]],
) -> list[str]:
    parts = []
    low, high = limits
    digits = max(decimals([high]), min(6, 1 - math.floor(math.log10(high - low))))
    for share in (0.1, 0.5, 0.9):
        y = place(settings[0], low + share * (high - low))[1]
        text = shown(low + share * (high - low), digits)
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for value in settings:
        x = place(value, low)[0]
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(setting)}</text>')
    return parts


def _curve(index: int, points: list[tuple[float, float]]) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" style="fill:{_colour(index)}"/>' for x, y in points]
    return [f'<polyline class="curve" points="{path}"{_pen(index)}/>', *dots]


def _sample(index: int) -> str:
    return f'<svg viewBox="0 0 28 10"><line class="curve" x2="28" y1="5" y2="5"{_pen(index)}/></svg>'


def _pen(index: int) -> str:
    dashes = _DASHES[index % len(_DASHES)]  # for print without colour
    return f' style="stroke:{_colour(index)}" stroke-dasharray="{dashes}"'


def _colour(index: int) -> str:
    return f"var(--line-{index % _COLOURS})"
