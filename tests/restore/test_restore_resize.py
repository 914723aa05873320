from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from seedvr2.errors import UserError
from seedvr2.restore.resize import (
    LARGEST_SIDE,
    Size,
    bicubic,
    check_size,
    pad_to_multiple,
    parse_size,
    resize_frame,
    target_size,
)

ASSETS = Path(__file__).parents[1] / "assets"


@pytest.mark.parametrize("name", ["up", "down", "mixed"])
def test_bicubic_matches_the_released_values(name):
    values = load_file(ASSETS / "resize_values.safetensors")
    expected = values[f"{name}.resized"]
    assert (bicubic(values[f"{name}.input"], Size(*expected.shape[-2:])) - expected).abs().max() <= 2e-6


def test_resize_frame_keeps_values_when_the_size_stays():
    frame = np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3) * 8
    result = resize_frame(frame, Size(2, 5))
    assert result.shape == (3, 2, 5)
    assert torch.equal(((result + 1) * 127.5).round().permute(1, 2, 0).to(torch.uint8), torch.from_numpy(frame))


def test_resize_frame_does_not_overshoot():
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[:, 4:] = 255
    result = resize_frame(frame, Size(32, 32))
    assert result.min() == -1
    assert result.max() == 1


def test_padding_repeats_the_edge_and_crops_back_to_the_input():
    frame = torch.randn(3, 7, 33, generator=torch.Generator().manual_seed(0))
    padded = pad_to_multiple(frame, 16)
    assert padded.shape == (3, 16, 48)
    assert torch.equal(padded[:, :7, :33], frame)
    assert torch.equal(padded[:, 7:, :33], frame[:, -1:].expand(3, 9, 33))
    assert torch.equal(padded[:, :, 33:], padded[:, :, 32:33].expand(3, 16, 15))
    assert pad_to_multiple(padded, 16).shape == padded.shape


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"scale": 4}, (960, 1704)),
        ({"scale": 0.5}, (120, 213)),  # whole, so it stays odd
        ({"scale": 1.3}, (312, 554)),  # 553.8
        ({"short_side": 720}, (720, 1278)),
        ({"short_side": 241}, (241, 428)),  # the asked side stays as asked, the other becomes even
        ({"size": Size(721, 1281)}, (721, 1281)),
    ],
)
def test_target_sizes(request_, expected):
    assert target_size(240, 426, **request_) == expected


def test_short_side_of_a_portrait_is_its_width():
    assert target_size(512, 288, short_side=720) == (1280, 720)


def test_whole_odd_sides_are_kept():
    assert target_size(359, 641, scale=1) == (359, 641)


@pytest.mark.parametrize(
    "request_",
    [
        {"scale": 0.0},
        {"scale": -2.0},
        {"scale": float("nan")},
        {"scale": float("inf")},
        {"scale": 1e300},
        {"scale": 1e-3},
        {"short_side": 0},
        {"short_side": -720},
        {"short_side": 20000},
        {"size": Size(0, 720)},
        {"size": Size(720, LARGEST_SIDE + 1)},
    ],
)
def test_senseless_sizes_are_the_users_mistake(request_):
    with pytest.raises(UserError, match=r"--(scale|short-side|size) .*;"):
        target_size(240, 426, **request_)


@pytest.mark.parametrize("text", ["1280", "1280x", "x720", "1280x720x3", "-1280x720", "axb", "12.5x7", "\u0661x\u0662"])
def test_unreadable_sizes_are_the_users_mistake(text):
    with pytest.raises(UserError, match="WIDTHxHEIGHT"):
        parse_size(text)


def test_sizes_are_written_width_first():
    assert parse_size("1280x720") == Size(720, 1280)
    assert str(Size(720, 1280)) == "1280x720"


def test_check_size_names_request_and_source():
    with pytest.raises(UserError, match="--compare makes an output of 20000x10 pixels from 7x5"):
        check_size(Size(10, 20000), request="--compare", source=Size(5, 7))
