"""The finished stages of a training run, in an order that copying the run does not change."""

import re
from pathlib import Path

import yaml

from seedvr2.errors import UserError

PIPELINE = ("vae", "base", "distill", "apt")  # where no config.yaml tells the order
DISTILLED = re.compile(r".+_(\d+)to(\d+)")  # a stage of a chain: steps of its teacher, steps of its student


def finished_stages(run: Path) -> list[Path]:
    """The `final` folders of a run, first stage first.

    The order is that of its config.yaml, else `PIPELINE`; stages of a chain follow by falling steps, and stages that
    are in neither come first. Raises UserError for a damaged config.yaml.
    """
    order = _configured(run / "config.yaml") or PIPELINE
    return sorted(run.glob("*/final"), key=lambda final: _rank(final.parent.name, order))


def trained_steps(stage: str) -> int | None:
    """The number of sampling steps that a stage of this name trains a generator for; None, any, for a base stage."""
    if distilled := DISTILLED.fullmatch(stage):
        return int(distilled[2])
    return None if stage.startswith("base") else 1


def _configured(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    try:
        stages = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
        return tuple(stage["name"] for stage in stages.values())
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged or not the configuration of a run; restore or remove it") from error


def _rank(stage: str, order: tuple[str, ...]) -> tuple[int, int, str]:
    families = [name for name in order if stage == name or stage.startswith(f"{name}_")]
    place = order.index(max(families, key=len)) if families else -1
    distilled = DISTILLED.fullmatch(stage)
    return place, -int(distilled[1]) if distilled else 0, stage
