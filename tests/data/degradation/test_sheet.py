"""Properties of contact sheets: every clip is there at one size, with its text inside its own column."""

import numpy as np
import pytest

from seedvr2.data.degradation.sheet import CELL, GAP, PAPER, Cell, contact_sheet, summary


def flat(value, *, frames=3, height=45, width=80):
    return np.full((frames, height, width, 3), value, np.float32)


def share_of(sheet, value):
    """How much of the sheet has a gray value."""
    return np.all(np.abs(sheet.astype(int) - round(255 * value)) <= 1, axis=2).mean()


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_every_clip_takes_the_same_place_whatever_its_size(count):
    values = np.linspace(0.3, 0.8, count)
    cells = [Cell(flat(values[0]), "first", ["a"])]
    cells += [Cell(flat(value, height=11, width=20), "next", ["b"]) for value in values[1:]]
    sheet = contact_sheet(cells, size=(45, 80))
    assert sheet.dtype == np.uint8
    shares = [share_of(sheet, value) for value in values]
    assert max(shares) < 1.02 * min(shares)
    assert sum(shares) > (0.5 if count > 1 else 0.8)


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2), (90, 60)])
@pytest.mark.parametrize("frames", [1, 2, 9])
def test_any_shape_makes_a_sheet(size, frames):
    clip = np.random.default_rng(0).random((frames, *size, 3), dtype=np.float32)
    sheet = contact_sheet([Cell(clip, "a", ["b"])] * 2, size=clip.shape[1:3])
    assert sheet.shape[1] == 2 * (CELL + GAP)
    assert sheet.shape[0] < 4 * CELL
    assert sheet.std() > 0


def test_the_detail_below_is_where_something_moves():
    clip = flat(0.5, frames=5, height=128, width=128)
    for time in range(5):
        clip[time, 80:88, 40 + time : 48 + time] = (1, 0, 0)
    sheet = contact_sheet([Cell(clip, "a", [])], size=(128, 128)).astype(int)
    below = sheet[-CELL // 3 :]
    is_red = (below[..., 0] > 200) & (below[..., 1] < 60)
    assert is_red.mean() > 0.1


def test_text_stays_inside_its_column():
    facts = [f"operation {number} kind sigma 12.5 by something" for number in range(9)]
    sheet = contact_sheet([Cell(flat(0.5), "title", facts)] * 2, size=(45, 80))
    text = sheet[: 5 * 17]
    assert np.array_equal(np.unique(text[:, CELL + GAP // 2 : CELL + GAP].reshape(-1, 3), axis=0), [PAPER])
    assert (text[:, : CELL // 2] > 200).any()


def test_the_summary_names_numbers_and_means():
    record = [
        {"op": "order", "groups": [1, 0]},
        {"op": "noise", "kind": "gaussian", "gray": True, "sigma": [10.0, 12.0]},
        {"op": "video_codec", "codec": "mpeg4", "bits_per_frame": 1234, "bits_per_pixel": 0.05123},
        {"op": "scratches", "count": 0, "lines": []},
    ]
    assert summary(record) == [
        "noise gaussian gray sigma 11",
        "video codec mpeg4 bits per pixel 0.051",
        "scratches count 0",
    ]
