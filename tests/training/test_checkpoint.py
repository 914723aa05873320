"""Checkpoints: the newest whole one, and no more of them than wanted."""

import errno
import resource

import pytest
import torch

from seedvr2.errors import UserError
from seedvr2.training.checkpoint import Checkpointer


class Counter:
    def __init__(self, value: int = 0):
        self.value = torch.tensor(value)

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def saved(folder, step: int, value: int) -> None:
    checkpoint = Checkpointer(folder, {"counter": Counter(value)}, keep=9)
    checkpoint.save(step)
    checkpoint.wait()


def test_the_newest_checkpoint_is_resumed(tmp_path):
    counter = Counter()
    checkpoint = Checkpointer(tmp_path, {"counter": counter}, keep=2)
    assert checkpoint.resume() == 0
    for step in (5, 10, 15):
        counter.value = torch.tensor(step * 2)
        checkpoint.save(step)
    counter.value = torch.tensor(-1)  # what changes while it is written is not written
    checkpoint.wait()
    restored = Counter()
    assert Checkpointer(tmp_path, {"counter": restored}).resume() == 15
    assert restored.value.item() == 30
    assert checkpoint.steps() == [10, 15]


def test_a_save_that_fails_leaves_the_old_one(tmp_path):
    class Broken(Counter):
        def state_dict(self):
            raise RuntimeError("broken")

    saved(tmp_path, 1, 4)
    with pytest.raises(RuntimeError, match="broken"):
        Checkpointer(tmp_path, {"counter": Broken()}).save(2)
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]


def test_a_step_can_be_saved_again(tmp_path):
    for value in (1, 2):
        saved(tmp_path, 3, value)
    restored = Counter()
    Checkpointer(tmp_path, {"counter": restored}).resume()
    assert restored.value.item() == 2


def test_archived_steps_stay(tmp_path):
    checkpoint = Checkpointer(tmp_path, {"counter": Counter()}, keep=1, archive_every=20)
    for step in (10, 20, 30, 40, 50, 60, 70):
        checkpoint.save(step)
    checkpoint.wait()
    assert checkpoint.steps() == [20, 40, 60, 70]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [flip, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("pattern", ["*.distcp", ".metadata", "plain.json", "sums_0.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(tmp_path, capsys, damage, pattern):
    for step in (1, 2):
        saved(tmp_path, step, step * 10)
    damage(next((tmp_path / "00000002").glob(pattern)))
    restored = Counter()
    assert Checkpointer(tmp_path, {"counter": restored}).resume() == 1
    assert restored.value.item() == 10
    assert "00000002 is damaged" in capsys.readouterr().out


def test_only_damaged_checkpoints_are_no_fresh_start(tmp_path):
    saved(tmp_path, 1, 1)
    flip(next((tmp_path / "00000001").glob("*.distcp")))
    with pytest.raises(UserError, match="damaged"):
        Checkpointer(tmp_path, {"counter": Counter()}).resume()


def test_a_half_written_checkpoint_is_named_and_removed(tmp_path, capsys):
    saved(tmp_path, 1, 10)
    (tmp_path / "00000001").rename(tmp_path / ".00000001.part")
    assert Checkpointer(tmp_path, {"counter": Counter()}).resume() == 0
    assert "00000001.part was not finished" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_other_networks_is_refused(tmp_path):
    class Other(Counter):
        def load_state_dict(self, state):
            self.value = state["weight"]

    saved(tmp_path, 1, 10)
    with pytest.raises(UserError, match="does not fit this configuration"):
        Checkpointer(tmp_path, {"counter": Other()}).resume()


def test_a_file_that_cannot_grow_is_told_and_leaves_older_checkpoints(tmp_path):
    saved(tmp_path, 1, 1)
    large = Counter()
    large.value = torch.zeros(2**18)
    checkpoint = Checkpointer(tmp_path, {"counter": large})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        checkpoint.save(2)
        with pytest.raises(UserError, match=r"step 2 could not be written .*File too large"):
            checkpoint.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]
    assert Checkpointer(tmp_path, {"counter": Counter()}).resume() == 1


def test_a_full_disk_is_told_and_leaves_older_checkpoints(tmp_path, monkeypatch):
    saved(tmp_path, 1, 1)

    def full(*arguments, **settings):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("seedvr2.training.checkpoint.dcp.save", full)
    checkpoint = Checkpointer(tmp_path, {"counter": Counter(2)})
    checkpoint.save(2)
    with pytest.raises(UserError, match=r"step 2 could not be written .*no space left"):
        checkpoint.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]
