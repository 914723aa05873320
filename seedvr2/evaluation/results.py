"""What a run of the evaluation found, as plain data, and what follows from it: means, intervals, paired comparisons."""

import math
from typing import Any, TypedDict

import numpy as np

from seedvr2.evaluation.statistics import bootstrap_interval, finite_mean, wilcoxon, wins

ANCHOR = "bicubic"  # the method that every report holds and that nobody is curious about
_TELLING = ("lpips", "dists", "vmaf", "psnr", "dover", "musiq", "niqe")  # metrics to find bad clips by, best first


class Results(TypedDict, total=False):
    """Everything a report shows; only `methods` is needed. Orders of methods, metrics and clips are kept.

    Values are numbers; None, NaN and infinities are all shown as missing from means. A picture is a path, the bytes
    of an image, or these bytes in base64; it shows the crop alone.
    """

    bench: dict[str, Any]  # "name" and whatever else describes it
    protocol: str
    partial: bool  # some clips are missing
    registered: bool  # scored after alignment
    comparable: bool  # whether the LQ are those of the paper
    lq_hash: str
    notes: list[str]
    metrics: dict[str, dict[str, str]]  # name -> better (higher, lower, ""), needs, definition, version, weights
    skipped: dict[str, str]  # metric -> reason
    methods: dict[str, dict[str, Any]]  # name -> clips {clip: {metric: value}}, facts, speed {clip: {seconds, ...}}
    offsets: dict[str, dict[str, dict[str, float]]]  # method -> clip -> down, right, frames, confidence
    pictures: dict[str, dict[str, Any]]  # clip -> frame, crop [top, left, height, width], methods {name: picture}
    profiles: dict[str, dict[str, Any]]  # clip -> method -> picture
    versions: dict[str, str]
    hardware: dict[str, Any]
    command: str
    worst_by: str  # the metric to rank clips by, and the method; chosen if absent
    subject: str
    comparisons: list[dict[str, Any]]  # of completed results


def number(value: Any) -> float:
    """A value as a float, NaN for None."""
    return math.nan if value is None else float(value)


def metric_names(results: Results) -> list[str]:
    """The metrics of the report in their order: the described ones, then others that a clip holds."""
    names = dict.fromkeys(results.get("metrics", {}))
    for method in results["methods"].values():
        for values in method.get("clips", {}).values():
            names.update(dict.fromkeys(values))
    return list(names)


def clip_names(results: Results) -> list[str]:
    """All clips that any method has, in order of appearance."""
    return list(dict.fromkeys(clip for method in results["methods"].values() for clip in method.get("clips", {})))


def better(results: Results, metric: str) -> str:
    """Whether "higher" or "lower" values of the metric are better; "" if neither is."""
    return results.get("metrics", {}).get(metric, {}).get("better") or ""


def clip_value(results: Results, method: str, metric: str, clip: str) -> float:
    """One value, NaN if missing."""
    return number(results["methods"][method].get("clips", {}).get(clip, {}).get(metric))


def clip_values(results: Results, method: str, metric: str) -> np.ndarray:
    """(N,) values of the metric on all clips of the method, NaN where missing."""
    return np.array([clip_value(results, method, metric, clip) for clip in results["methods"][method].get("clips", {})])


def completed(results: Results) -> Results:
    """A copy with what follows from the clips: per method `mean`, `interval` (95 %, bootstrap over clips) and
    `left_out` ({metric: number of its clips without a finite value}), and the list `comparisons`.

    A mean is over the clips with a finite value and None without any; so is an interval with fewer than two.
    """
    metrics, methods = metric_names(results), {}
    for name, method in results["methods"].items():
        values = {metric: clip_values(results, name, metric) for metric in metrics}
        means = {metric: finite_mean(column) for metric, column in values.items()}
        methods[name] = {
            **method,
            "mean": {metric: mean for metric, (mean, _) in means.items()},
            "interval": {metric: _interval(column) for metric, column in values.items()},
            "left_out": {metric: count for metric, (_, count) in means.items() if count},
        }
    complete = Results(**{**results, "methods": methods})
    complete["comparisons"] = comparisons(results)
    return complete


def comparisons(results: Results) -> list[dict[str, Any]]:
    """Every method against the first one on the clips that both have, for each metric with a better side.

    Each holds method, against, metric, clips, wins, ties and losses of the method, p (Wilcoxon), the mean difference
    method minus first over clips where both are finite, and its interval.
    """
    first, *others = results["methods"]
    found = []
    for metric in metric_names(results):
        side = better(results, metric)
        if not side:
            continue
        for name in others:
            theirs = results["methods"][name].get("clips", {})
            shared = [clip for clip in results["methods"][first].get("clips", {}) if clip in theirs]
            a, b = (np.array([clip_value(results, m, metric, c) for c in shared], float) for m in (name, first))
            known = ~(np.isnan(a) | np.isnan(b))
            if not known.any():
                continue
            a, b = a[known], b[known]
            finite = np.isfinite(a) & np.isfinite(b)
            difference = a[finite] - b[finite]
            found.append(
                {"method": name, "against": first, "metric": metric, "clips": len(a)}
                | dict(zip(("wins", "ties", "losses"), wins(a, b, side), strict=True))
                | {"p": wilcoxon(a, b), "difference": finite_mean(difference)[0], "interval": _interval(difference)}
            )
    return found


def ranking(results: Results) -> tuple[str, str, list[str]]:
    """The clips from worst to best: (metric, method, clips), by `worst_by` and `subject` or by what tells most.

    The method is the first that is not the bicubic anchor; without any usable metric the names are "" and no clips.
    """
    methods = list(results["methods"])
    subject = results.get("subject") or next((name for name in methods if name != ANCHOR), methods[0])
    described = [metric for metric in metric_names(results) if better(results, metric)]
    wanted = [results.get("worst_by", ""), *_TELLING, *described]
    for metric in wanted:
        if metric in described and np.isfinite(clip_values(results, subject, metric)).any():
            sign = 1 if better(results, metric) == "higher" else -1
            clips = [c for c in clip_names(results) if not math.isnan(clip_value(results, subject, metric, c))]
            return metric, subject, sorted(clips, key=lambda c: sign * clip_value(results, subject, metric, c))
    return "", "", []


def _interval(values: np.ndarray) -> list[float] | None:
    low, high = bootstrap_interval(values)
    return None if math.isnan(low) else [low, high]
