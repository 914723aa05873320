"""Learning-rate schedules: functions of the share of a stage that is done, times the optimizer's rate."""

import math


def constant(step: int, total: int, *, warmup: int = 0) -> float:
    """1 after a linear warm-up of `warmup` steps."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def linear(step: int, total: int, *, warmup: int = 0, final: float = 0.0) -> float:
    """From 1 down to `final` in a straight line, after a linear warm-up."""
    if step < warmup:
        return (step + 1) / warmup
    return 1 + (final - 1) * _progress(step, total, warmup)


def cosine(step: int, total: int, *, warmup: int = 0, final: float = 0.0) -> float:
    """From 1 down to `final` along half a cosine, after a linear warm-up."""
    if step < warmup:
        return (step + 1) / warmup
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * _progress(step, total, warmup)))


def _progress(step: int, total: int, warmup: int) -> float:
    return min(1.0, (step - warmup) / max(1, total - warmup))
