"""Tables as data: what the Markdown and the HTML report both print."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

NONE = "—"
ARROWS = {"higher": "↑", "lower": "↓"}


@dataclass(frozen=True)
class Cell:
    """One cell: its text, a second smaller line, whether it is the best of its row, and a number to sort by."""

    text: str
    small: str = ""
    best: bool = False
    order: float | None = None  # None marks text


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows; `foreign` columns hold numbers that are not ours."""

    header: list[str]
    rows: list[list[Cell]]
    caption: str = ""
    notes: list[str] = field(default_factory=list)
    foreign: frozenset[int] = frozenset()


def decimals(values: Iterable[float]) -> int:
    """How many digits after the point show a row of values, from its largest finite magnitude."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=1.0)
    for limit, digits in ((1000, 0), (100, 1), (10, 2), (1, 3), (0.01, 4)):
        if largest >= limit:
            return digits
    return 6


def shown(value: float, digits: int) -> str:
    """A number with that many digits after the point; — for NaN, ∞ for infinity."""
    if math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    text = f"{value:.{digits}f}"
    return text if float(text) else text.lstrip("-")  # no -0.00


def range_shown(interval: list[float] | None, digits: int) -> str:
    """An interval as "[low, high]", empty if there is none."""
    return f"[{shown(interval[0], digits)}, {shown(interval[1], digits)}]" if interval else ""


def number_cells(values: list[float], side: str, digits: int, *, small: list[str] | None = None) -> list[Cell]:
    """A row of numbers, the best according to side ("higher", "lower", "" for none) marked where it has rivals."""
    known = [value for value in values if not math.isnan(value)]
    best = math.nan
    if side and len(known) > 1 and len(set(known)) > 1:
        best = max(known) if side == "higher" else min(known)
    small = small or [""] * len(values)
    return [Cell(shown(v, digits), s, v == best, v) for v, s in zip(values, small, strict=True)]


def titled(metric: str, side: str) -> str:
    """A metric's name with the arrow of its better side."""
    return f"{metric}\N{NO-BREAK SPACE}{ARROWS[side]}" if side in ARROWS else metric


def flat(value: Any) -> str:
    """A value of a description in one line: mappings as "a: b, c: d", lists with commas, None as —."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {flat(part)}" for name, part in value.items()) or NONE
    if isinstance(value, (list, tuple)):
        return ", ".join(map(flat, value)) or NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NONE if value in (None, "") else f"{value:g}" if isinstance(value, float) else str(value)
