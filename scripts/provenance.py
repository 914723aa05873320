"""What a measurement ran on: the processor. The commit is known to `seedvr2.evaluation.runner.commit`."""

import platform
import re
from pathlib import Path


def processor() -> str:
    """The name of the CPU, or else its architecture."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
