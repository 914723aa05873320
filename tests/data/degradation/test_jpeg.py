"""Properties of JPEG on tensors: it loses what the library's encoder and decoder lose."""

import cv2
import numpy as np
import pytest
import torch

from seedvr2.data.degradation.compression import Jpeg
from seedvr2.data.degradation.draw import Draw
from seedvr2.data.degradation.jpeg import through_jpeg
from seedvr2.data.procedural import ProceduralClips

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def drawn(frames, height, width):
    clip = ProceduralClips().clip(np.random.default_rng(0), frames, height, width)
    return np.rint(clip * 255).astype(np.float32) / np.float32(255)


def library(clip, quality):
    return Jpeg((quality, quality))(clip, Draw(np.random.default_rng(0), (1, 1)))


def psnr(first, second):
    return -10 * np.log10(max(float(np.mean((first - second) ** 2)), 1e-10))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("quality", [10, 30, 60, 95, 100])
@pytest.mark.parametrize("size", [(64, 96), (33, 45), (17, 16)])
def test_pictures_are_those_of_the_library(device, quality, size):
    clip = drawn(2, *size)
    expected = library(clip, quality)
    found = through_jpeg(torch.from_numpy(clip).to(device), [quality] * 2).cpu().numpy()
    assert found.shape == clip.shape
    assert np.array_equal(np.rint(found * 255).astype(np.float32) / np.float32(255), found)
    # Far closer to each other than to the original: rounding alone is 59 dB.
    assert psnr(found, expected) > 40
    assert psnr(found, expected) > psnr(clip, expected) + 15


def test_every_frame_has_its_own_quality():
    clip = torch.from_numpy(drawn(3, 32, 48))
    mixed = through_jpeg(clip, [20, 95, 60])
    for time, quality in enumerate((20, 95, 60)):
        assert torch.equal(mixed[time], through_jpeg(clip[time : time + 1], [quality])[0])
    errors = [psnr(mixed[time].numpy(), clip[time].numpy()) for time in range(3)]
    assert errors[0] < errors[2] < errors[1]


def test_colour_is_halved_as_by_the_library():
    stripes = np.zeros((1, 32, 32, 3), np.float32)
    stripes[:, :, ::2, 0] = 1
    stripes[:, :, 1::2, 2] = 1
    found = through_jpeg(torch.from_numpy(stripes), [100]).numpy()
    assert psnr(found, stripes) < 15
    assert psnr(found, library(stripes, 100)) > 40


def test_values_beyond_the_range_are_clipped_first():
    wild = torch.full((1, 16, 16, 3), 0.5)
    wild[..., 0], wild[..., 2] = 1.4, -0.3
    assert (through_jpeg(wild, [95]) - torch.tensor([1, 0.5, 0])).abs().max() < 0.03


def test_the_quality_tables_are_those_in_a_file_of_the_library():
    from seedvr2.data.degradation.jpeg import CHROMA, LUMA, _tables

    zigzag = sorted(np.ndindex(8, 8), key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]))
    for quality in (10, 49, 50, 77, 100):
        data = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        for number, base in enumerate((LUMA, CHROMA)):
            start = data.index(b"\xff\xdb\x00\x43" + bytes([number])) + 5
            stored = list(data[start : start + 64])
            table = _tables(base, [quality], torch.device("cpu"))[0]
            assert stored == [int(table[at]) for at in zigzag]
