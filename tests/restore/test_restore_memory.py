"""What is free in a container: pages of files that were read can be taken back."""

from pathlib import Path

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
