"""A rank that hangs is named, once, and every process ends; ranks that move are left alone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from seedvr2.parallel.mesh import Parallelism
from seedvr2.parallel.runtime import Runtime
from seedvr2.parallel.watch import Beat, Watch, verdict
from tests.parallel.watching import LAST, SLEEPER, WORLD

ROOT = Path(__file__).parents[2]


def test_the_rank_that_hangs_is_named_once_and_all_processes_end():
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    command = [sys.executable, "-m", "tests.parallel.watching"]
    ranks = [
        subprocess.Popen([*command, str(rank), str(store.port)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for rank in range(WORLD)
    ]
    errors = "".join(rank.communicate(timeout=60)[1] for rank in ranks)
    assert [rank.returncode for rank in ranks] == [1] * WORLD
    lines = [line for line in errors.splitlines() if "hang" in line]
    assert len(lines) == 1
    # it is the last step that is named: all before it took longer than the timeout together, and were let be
    pattern = rf"rank {SLEEPER} \(.+\) hangs: stage base step {LAST}: waiting for data, for \d+ s; rank 0 waits for it$"
    assert re.search(pattern, lines[0]), lines[0]


def test_one_process_is_not_watched():
    watch = Watch(Runtime(Parallelism(), torch.device("cpu")), 1e-9)
    watch.beat("stage base step 1: update")
    watch.stop()


def beats(*numbers: int | None) -> dict:
    return {i: n if n is None else Beat(n, f"step {n}", 100.0, f"node{i}") for i, n in enumerate(numbers)}


@pytest.mark.parametrize(
    ("numbers", "line"),
    [
        ((5, 4, 5, 5), "rank 1 (node1) hangs: step 4, for 30 s; ranks 0, 2, 3 wait for it"),
        ((5, 5, 5, 4, 4, 5), "ranks 3, 4 (node3, node4) hang: step 4, for 30 s; ranks 0-2, 5 wait for it"),
        ((7, None), "rank 1 hangs: it never began; rank 0 waits for it"),
        ((7, 7), "ranks 0, 1 (node0, node1) hang: step 7, for 30 s"),
    ],
)
def test_the_line_names_those_furthest_behind(numbers, line):
    assert verdict(beats(*numbers), 130.0) == line
