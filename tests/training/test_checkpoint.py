"""Checkpoints: the newest whole one, and no more of them than wanted."""

import pytest
import torch

from seedvr2.training.checkpoint import Checkpointer


class Counter:
    def __init__(self, value: int = 0):
        self.value = torch.tensor(value)

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def test_the_newest_checkpoint_is_resumed(tmp_path):
    counter = Counter()
    checkpoint = Checkpointer(tmp_path, {"counter": counter}, keep=2)
    assert checkpoint.resume() == 0
    for step in (5, 10, 15):
        counter.value = torch.tensor(step * 2)
        checkpoint.save(step)
    restored = Counter()
    assert Checkpointer(tmp_path, {"counter": restored}).resume() == 15
    assert restored.value.item() == 30
    assert checkpoint.steps() == [10, 15]


def test_a_save_that_fails_leaves_the_old_one(tmp_path):
    class Broken(Counter):
        def state_dict(self):
            raise RuntimeError("broken")

    Checkpointer(tmp_path, {"counter": Counter(4)}).save(1)
    with pytest.raises(RuntimeError, match="broken"):
        Checkpointer(tmp_path, {"counter": Broken()}).save(2)
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]


def test_a_step_can_be_saved_again(tmp_path):
    for value in (1, 2):
        Checkpointer(tmp_path, {"counter": Counter(value)}).save(3)
    restored = Counter()
    Checkpointer(tmp_path, {"counter": restored}).resume()
    assert restored.value.item() == 2
