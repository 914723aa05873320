"""The report's tables about the run: conditions, misregistration, speed, definitions of metrics, what was skipped."""

import math
from statistics import fmean

from seedvr2.evaluation.paper import SPEED_SIZE, paper_speed
from seedvr2.evaluation.results import Results, number
from seedvr2.evaluation.tables import NONE, Cell, Table, flat, shown

NOT_COMPARABLE = (
    "Not comparable: the paper's degraded inputs are unpublished, so these LQ differ from them, and it does not say in "
    "which colour space PSNR and SSIM are taken, with which network LPIPS, with which flow E*_warp. A bicubic row that "
    "differs from the paper's shows how far apart the inputs are."
)
SAME_INPUTS = (
    "The inputs are those of the paper. Which of their frames it scores, and with which versions of the metrics, it "
    "does not say."
)


def paper_note(results: Results) -> str:
    """How far the paper's numbers can be compared with those of this run."""
    return SAME_INPUTS if results.get("comparable") is True else NOT_COMPARABLE


def warnings(results: Results) -> list[str]:
    """Sentences that must not be missed: a partial run, scores after alignment, the user's notes."""
    found = []
    if results.get("partial"):
        found.append("Partial: clips or frames of the benchmark are missing; the means are not the benchmark's.")
    if results.get("registered"):
        found.append("Registered: predictions were aligned to the ground truth before scoring, which flatters them.")
    return found + [str(note) for note in results.get("notes", [])]


def conditions(results: Results) -> Table:
    """Under which conditions the numbers were made, one per row."""
    bench = dict(results.get("bench", {}))
    pairs = [("benchmark", bench.pop("name", None)), *((f"benchmark {name}", value) for name, value in bench.items())]
    pairs += [("protocol", results.get("protocol")), ("LQ hash", results.get("lq_hash"))]
    pairs += [(name, results.get(name)) for name in ("versions", "hardware", "command")]
    return Table(["condition", "value"], [[Cell(name), Cell(flat(value))] for name, value in pairs if value])


def facts_table(results: Results) -> Table | None:
    """What is known of each method: model, settings, hashes. None if nothing is."""
    rows = [
        [Cell(name), Cell(flat(method["facts"]))] for name, method in results["methods"].items() if method.get("facts")
    ]
    return Table(["method", "settings"], rows) if rows else None


def offsets_table(results: Results) -> Table | None:
    """Predictions that seem shifted against the ground truth; None if misregistration was not looked for."""
    offsets = {name: clips for name, clips in results.get("offsets", {}).items() if clips}
    if not offsets:
        return None
    parts = ("down", "right", "frames")
    rows, aligned = [], 0
    for method, clips in offsets.items():
        for clip, found in clips.items():
            shift = [number(found.get(part, 0)) for part in parts]
            if not any(shift):
                aligned += 1
                continue
            confidence = number(found.get("confidence"))
            cells = [Cell(f"{value:+g}" if value else "0", order=value) for value in shift]
            rows.append([Cell(method), Cell(clip), *cells, Cell(shown(confidence, 2), order=confidence)])
    total = sum(map(len, offsets.values()))
    note = f"{aligned} of {total} clips lie exactly on the ground truth; offsets are whole pixels and frames."
    return Table(["method", "clip", "down", "right", "frames", "confidence"], rows, notes=[note])


def speed_table(results: Results) -> Table | None:
    """Seconds, memory and parameters per method, laid out as the paper's Table 6; None without any timing."""
    methods = {name: method for name, method in results["methods"].items() if method.get("speed")}
    if not methods:
        return None
    columns = [_speed(method) for method in methods.values()]
    rows = [
        [Cell(name), *(Cell(shown(value, digits), order=value) for value in values)]
        for (name, digits), values in zip(_SPEED_ROWS, zip(*columns, strict=True), strict=True)
    ]
    rows = [row for row in rows if any(cell.text != NONE for cell in row[1:])]
    return Table(["", *methods], rows, notes=["Mean over clips; the memory is the largest of any clip."])


_SPEED_ROWS = (
    ("parameters of the generator (M)", 1),
    ("seconds per clip", 2),
    ("frames per clip", 1),
    ("seconds per frame", 3),
    ("peak memory (MB)", 0),
)


def _speed(method: dict) -> list[float]:
    clips = list(method["speed"].values())
    seconds, peaks, frames = ([number(clip.get(part)) for clip in clips] for part in ("seconds", "peak_mb", "frames"))
    timed = [(s, f) for s, f in zip(seconds, frames, strict=True) if s >= 0 and f > 0]  # False for NaN
    each = sum(s for s, _ in timed) / sum(f for _, f in timed) if timed else math.nan
    means = [_mean(seconds), _mean(frames), each]
    return [number(method.get("facts", {}).get("parameters_m")), *means, max(_known(peaks), default=math.nan)]


def _known(values: list[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def _mean(values: list[float]) -> float:
    known = _known(values)
    return fmean(known) if known else math.nan


def paper_speed_table() -> Table:
    """Table 6 as printed in the paper."""
    rows = paper_speed()
    size = " x ".join(map(str, SPEED_SIZE))
    lines = [("parameters of the generator (M)", "parameters"), (f"seconds per video ({size})", "seconds")]
    body = [[Cell(name), *(Cell(r.printed[key], order=r.values[key]) for r in rows)] for name, key in lines]
    note = "The paper's GPU and whether reading and the VAE are timed are not stated: not comparable with this run."
    header = ["", *(row.method for row in rows)]
    return Table(header, body, "Table 6 of the paper — not comparable", [note], frozenset(range(1, len(header))))


def metrics_table(results: Results) -> Table:
    """How each metric is defined, its version and weights."""
    parts = ("better", "needs", "definition", "version", "weights")
    rows = [
        [Cell(name), *(Cell(flat(described.get(part))) for part in parts)]
        for name, described in results.get("metrics", {}).items()
    ]
    return Table(["metric", *parts], rows)


def skipped_table(results: Results) -> Table | None:
    """Metrics that were asked for and could not run; None if all ran."""
    rows = [[Cell(name), Cell(flat(reason))] for name, reason in results.get("skipped", {}).items()]
    return Table(["metric", "reason"], rows) if rows else None
