"""What is free in a container, where pages of files that were read can be taken back; and what a process gives back."""

import platform
from pathlib import Path

import pytest
import torch

from seedvr2.restore import memory


def test_pages_of_files_in_a_container_count_as_free(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 100\nfile 800\ninactive_file 700\nactive_file 100\n")
    monkeypatch.setattr(memory, "Path", lambda name: tmp_path if "cgroup" in str(name) else Path(name))
    assert memory.free_memory(torch.device("cpu")) == 800
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory(torch.device("cpu")) > 1000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries decide for themselves")
def test_free_blocks_between_those_in_use_go_back():
    blocks = [torch.ones(1 << 16, dtype=torch.uint8) for _ in range(1600)]
    del blocks[::2]
    before = _held()
    memory.give_back()
    assert before - _held() > 20 << 20  # of 50 MiB


def _held() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
