"""What a measurement ran on, and where its report lies. The commit is known to `seedvr2.evaluation.runner.commit`."""

import platform
import re
from pathlib import Path

import torch

BENCHMARKS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"


def report_path(kind: str, device: str) -> Path:
    """Where a report lies if nothing else was said; of the device's name letters and digits stay."""
    name = re.sub(r"[^a-z0-9]+", "_", device.lower()).strip("_")
    return BENCHMARKS / f"{kind}_{name}.json"


def chip(*, is_gpu: bool) -> str:
    """The name of the GPU or of the CPU."""
    return torch.cuda.get_device_name() if is_gpu else processor()


def processor() -> str:
    """The name of the CPU, or else its architecture."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
