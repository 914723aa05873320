"""Keeping freed memory: the next large array costs no new pages."""

import json
import platform
import subprocess
import sys

import pytest

COUNT = """
import json, resource
import numpy as np
from seedvr2.data.memory import keep_freed_memory
kept = {keep} and keep_freed_memory()
def touch():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(40_000_000, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
touch()
print(json.dumps([kept, sum(touch() for _ in range(8))]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of the GNU C library")
def test_memory_is_used_again_instead_of_fetched_again():
    faults = []
    for keep in (False, True):
        command = [sys.executable, "-c", COUNT.format(keep=keep)]
        kept, number = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert kept == keep
        faults.append(number)
    assert faults[1] < faults[0] / 8
