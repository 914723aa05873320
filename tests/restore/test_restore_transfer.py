"""Frames come back in order, late by a fixed number, and nothing is lost at the end."""

import pytest
import torch

from seedvr2.restore.transfer import landed, sent


@pytest.mark.parametrize("late", [0, 1, 4])
def test_frames_land_in_order_when_so_many_others_have_followed(late):
    made = []

    def frames():
        for number in range(6):
            made.append(number)
            yield None if number == 2 else torch.full((1,), float(number))

    found = []
    for frame in landed(frames(), late=late):
        assert len(made) == min(6, len(found) + 1 + late)
        found.append(None if frame is None else int(frame))
    assert found == [0, 1, None, 3, 4, 5]


def test_what_is_on_its_device_is_not_copied():
    x = torch.ones(3)
    assert sent(x, torch.device("cpu")).data_ptr() == x.data_ptr()


@pytest.mark.gpu
def test_copies_hold_what_was_on_the_device_when_they_were_asked_for():
    x = torch.arange(8.0)
    there = sent(x, torch.device("cuda"))
    (back,) = landed([there], late=0)
    assert torch.equal(back, x)
