"""What a metric is: it is told of a clip, sees its frames in order, and answers with a number.

Metrics hold a few frames at most, so that a clip of any length can be scored while it is read.
"""

import hashlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np

from seedvr2.errors import UserError


class Clip(NamedTuple):
    """A clip about to be scored."""

    name: str
    frames: int
    height: int  # of the prediction, which is that of the ground truth
    width: int
    first: int = 0  # number of its first frame in the prediction's file


class Facts(NamedTuple):
    """What the report says of a metric.

    better: "higher", "lower" or "" (descriptive). needs: "gt", "lq" or "" (neither). definition: colour space, window,
    averaging. version: of the packages that matter. weights: names and hashes of weight files, "" without.
    """

    name: str
    better: Literal["higher", "lower", ""]
    needs: Literal["gt", "lq", ""]
    definition: str
    version: str = ""
    weights: str = ""


class Settings(NamedTuple):
    """How metrics are made.

    weights_dir: folder of weight files, searched before TORCH_HOME. flow: networks or OpenCV ("auto": RAFT if its file
    is there). flow_on: the frames whose motion the warping error follows. seed: of metrics that sample.
    """

    device: str = "cpu"
    weights_dir: Path | None = None
    flow: Literal["auto", "dis", "raft"] = "auto"
    flow_on: Literal["gt", "output", "lq"] = "gt"
    seed: int = 0


DEFAULT = Settings()


class Metric(Protocol):
    """Scores clips one after the other."""

    facts: Facts

    def start(self, clip: Clip) -> None:
        """Forget what was before and expect the frames of a clip."""

    def add(self, prediction: np.ndarray, gt: np.ndarray | None = None, lq: np.ndarray | None = None) -> None:
        """The next frame, uint8 RGB (H, W, 3); gt of the same size, lq of its own."""

    def result(self) -> float | dict[str, float] | None:
        """The score of the frames since `start`; None where it is not defined, math.inf allowed."""


class Unavailable(UserError):
    """A metric cannot be had here: a package or a weight file is missing."""


Measure = Callable[[np.ndarray, np.ndarray | None, np.ndarray | None], float | None]  # (prediction, gt, lq)


class FrameMean:
    """A metric of single frames, averaged over the clip; None as soon as one frame has none.

    measure: takes prediction, gt and lq as `Metric.add` does.
    """

    def __init__(self, facts: Facts, measure: Measure):
        self.facts = facts
        self._measure = measure
        self._values: list[float | None] = []

    def start(self, clip: Clip) -> None:
        self._values = []

    def add(self, prediction: np.ndarray, gt: np.ndarray | None = None, lq: np.ndarray | None = None) -> None:
        if self.facts.needs == "gt":
            assert gt is not None, f"{self.facts.name} needs the ground truth"
            assert prediction.shape == gt.shape, f"{prediction.shape} against {gt.shape}"
        self._values.append(self._measure(prediction, gt, lq))

    def result(self) -> float | None:
        if not self._values or None in self._values:
            return None
        return float(np.mean(self._values))


def versions(*packages: str) -> str:
    """Names and versions of installed packages, as in "torch 2.11.0, pyiqa 0.1.16"."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {installed(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def fingerprint(path: Path) -> str:
    """A weight file in the report: its name and the first 16 digits of its SHA-256.

    Released files often end in the first digits of their hash (`name-1234abcd.pth`); it is said where they differ.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    claimed = path.stem.rpartition("-")[2]
    is_claim = path.stem != claimed and len(claimed) == 8 and set(claimed) <= set("0123456789abcdef")
    note = " (not the released file: its hash is not the one in its name)" if is_claim else ""
    return f"{path.name} sha256:{digest[:16]}{'' if digest.startswith(claimed) else note}"
