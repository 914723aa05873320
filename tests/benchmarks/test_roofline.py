"""Counted work equals the published counts of the released networks, in any split of a clip."""

import sys
from pathlib import Path

import pytest
import torch

from seedvr2.restore.resize import Size

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module", autouse=True)
def _scripts():
    sys.path.insert(0, str(SCRIPTS))
    yield
    sys.path.remove(str(SCRIPTS))


@pytest.mark.parametrize(("frames", "encode", "decode"), [(5, 3.137, 8.048), (9, 5.479, 14.225)])
def test_the_autoencoders_work_is_that_of_the_released_one(frames, encode, decode):
    from roofline import Clip, stages

    work = stages("3b", Clip(frames, Size(256, 256)), torch.bfloat16)
    assert work["encode"].flops / 1e12 == pytest.approx(encode, rel=1e-3)
    assert work["decode"].flops / 1e12 == pytest.approx(decode, rel=1e-3)
    assert work["I/O"].bytes == frames * 256 * 256 * 6


@pytest.mark.parametrize(("model", "teraflop"), [("3b", 4.285), ("7b", 6.869)])
def test_the_generators_work_is_that_of_the_released_one(model, teraflop):
    from roofline import Clip, stages

    work = stages(model, Clip(9, Size(256, 256)), torch.bfloat16)["generate"]
    # the text that leaves the last layer of the 7B is not needed, and not computed here
    assert work.flops / 1e12 == pytest.approx(teraflop, rel=2e-3)
    parameters = {"3b": 3_391_475_776, "7b": 8_239_607_872}[model]
    assert 1.8 * parameters < work.bytes < 6 * parameters  # weights in bf16 (a few are not needed), and activations


def test_windows_cover_every_latent_frame_once_but_for_what_they_share():
    from roofline import Clip

    for frames in range(1, 120):
        for window in (1, 5, 17, 33):
            counts = list(Clip(frames, Size(64, 64), window).windows())
            latents, shared = (frames + 2) // 4 + 1, min(1, window // 4)
            assert sum(counts) - shared * (len(counts) - 1) == latents
            assert max(counts) <= window // 4 + 1


def test_a_floor_is_the_longer_of_arithmetic_and_traffic():
    from limits import Device
    from roofline import Work, floors

    found = floors({"encode": Work(2e12, 1e9), "decode": Work(1e9, 3e9), "I/O": Work(0, 5e8)}, Device("", 1, 1, 1))
    assert found == {"encode": 2.0, "decode": 3.0, "I/O": 0.5, "all": 5.0}


def test_seconds_of_a_line_are_linear_and_others_are_not():
    from scaling import Line, from_flat, from_line, from_ratio

    assert from_line(Line("", [1, 21, 101], [2, 22, 102])) == pytest.approx(0, abs=1e-9)
    assert from_line(Line("", [1, 21, 101], [2, 22, 300])) > 0.05
    assert from_line(Line("", [1, 21], [2, 22])) is None
    assert from_ratio(Line("", [1, 2], [10, 22])) == pytest.approx(1 / 21)
    assert from_flat(Line("", [33, 101], [4, 5])) == pytest.approx(0.25)


def test_a_single_window_says_nothing_of_how_memory_grows(tmp_path):
    from scaling import report_scaling

    row = {"model": "tiny", "stage": "all", "autoencoder": "fast", "size": "32x32", "window": 5, "used": 1.0}
    for peaks, verdict in (((6, 8, 8), "pass"), ((8, 8, 9), "FAIL")):
        rows = [{**row, "frames": frames, "peak_bytes": peak} for frames, peak in zip((5, 9, 13), peaks, strict=True)]
        (found,) = [said for said in report_scaling(rows, tmp_path / "x.svg") if "memory" in said]
        assert found.startswith(verdict)
