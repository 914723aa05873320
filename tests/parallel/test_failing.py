"""A rank that fails alone ends at once and says why, though its peers wait in a collective."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist

from seedvr2.io.images import write_image
from tests.parallel.failing import VICTIM
from tests.parallel.test_launch import TRAINING

ROOT, WORLD = Path(__file__).parents[2], 2


def start(rank: int, port: int, arguments: list[str]) -> subprocess.Popen:
    """A rank as torchrun starts it."""
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD), "LOCAL_WORLD_SIZE": str(WORLD)}
    meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    command = [sys.executable, "-m", "tests.parallel.failing", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **place, **meeting}
    return subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("command", ["train", "infer"])
def test_a_rank_that_fails_ends_at_once_and_says_why(command, tmp_path):
    picture = tmp_path / "in.png"
    write_image(picture, np.zeros((16, 16, 3), np.uint8))
    arguments = {
        "train": [*TRAINING, f"run.dir={tmp_path / 'run'}"],
        "infer": ["--input", str(picture), "--model", "tiny", "--device", "cpu"],
    }
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    ranks = [start(rank, store.port, [command, *arguments[command]]) for rank in range(WORLD)]
    try:
        errors = [rank.communicate(timeout=60)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [1] * WORLD
    assert errors[VICTIM].splitlines()[-1].endswith("RuntimeError: power cut")
