import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file

from seedvr2.errors import UserError
from seedvr2.evaluation.benchmark import Entry, find_entries, load_bench
from seedvr2.evaluation.footage import read_clip
from seedvr2.evaluation.protocol import (
    bicubic,
    enlarged,
    frozen_crop,
    geometry,
    geometry_of,
    prepared_gt,
    reduced,
    triples,
)
from seedvr2.restore.resize import bicubic as resized
from tests.evaluation.miniatures import moving, reduced_by_4, write_folder, write_video

ASSETS = Path(__file__).parents[1] / "assets"
# LQ, enlarged, output, part of it, factor, GT: what the released transform was computed to do
OFFICIAL = [
    ((180, 318), (722, 1276), (720, 1264), "4.0126", (720, 1272)),
    ((180, 320), (720, 1280), (720, 1280), "4.0000", (720, 1280)),
    ((135, 240), (720, 1280), (720, 1280), "5.3333", (540, 960)),
    ((270, 480), (720, 1280), (720, 1280), "2.6667", (1080, 1920)),
    ((270, 270), (960, 960), (960, 960), "3.5556", (1080, 1080)),
]


@pytest.fixture
def pair(tmp_path):
    """(bench, entry, gt frames, lq frames) of one clip in folders."""
    clip = moving(5)
    write_folder(tmp_path / "gt" / "x", clip)
    write_folder(tmp_path / "lq" / "x", reduced_by_4(clip))
    bench = load_bench("folder")
    entry = find_entries(bench, lq=tmp_path / "lq", gt=tmp_path / "gt").entries[0]
    return bench, entry, clip, reduced_by_4(clip)


@pytest.mark.parametrize(("lq", "whole", "target", "factor", "gt"), OFFICIAL)
def test_the_official_crop_reproduces_the_released_transform(lq, whole, target, factor, gt):
    shape = geometry("official_crop", lq, gt, 4, 1080)
    assert (shape.enlarged, shape.target, shape.part[2:]) == (whole, target, target)
    assert f"enlarged by {factor}" in shape.note
    if shape.is_refitted:
        assert (shape.gt_size, shape.crop) == (gt, (0, 0, *gt))
    else:
        assert shape.crop == ((gt[0] - target[0]) // 2, (gt[1] - target[1]) // 2, *target)


def test_the_official_crop_has_the_released_sizes_and_places():
    cases = json.loads((ASSETS / "resize.json").read_text())
    assert len(cases) == 72
    for case in cases:
        shape = geometry("official_crop", case["input"], None, 4, 1080, area=case["area"])
        assert [list(shape.enlarged), list(shape.part)] == [case["resized"], case["crop"]], case


@pytest.mark.parametrize(("name", "area"), [("down", 32 * 48), ("mixed", 35 * 35)])
def test_the_official_crop_shows_the_released_pixels(name, area):
    values = load_file(ASSETS / "resize_values.safetensors")
    frames, expected = values[f"{name}.input"], values[f"{name}.output"]
    shape = geometry("official_crop", frames.shape[-2:], None, 4, 1080, area=area)
    top, left, height, width = shape.part
    found = resized(frames, shape.enlarged).clamp(0, 1)[..., top : top + height, left : left + width] * 2 - 1
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 2e-6


def test_the_official_crop_cuts_eight_lines_of_full_hd_and_says_where_it_misaligns():
    shape = geometry("official_crop", (270, 480), None, 4, 1080, area=1920 * 1080)
    assert (shape.enlarged, shape.target, shape.part) == ((1080, 1920), (1072, 1920), (4, 0, 1072, 1920))
    assert "do not align" in geometry("official_crop", (180, 318), (720, 1272), 4, 1080).note
    assert "do not align" not in geometry("official_crop", (180, 320), (720, 1280), 4, 1080).note


@pytest.mark.parametrize(
    ("lq", "gt"), [((180, 318), (720, 1272)), ((135, 240), (540, 960)), ((270, 270), (1080, 1080)), ((3, 5), (12, 20))]
)
def test_the_aligned_output_is_as_large_as_the_ground_truth(lq, gt):
    shape = geometry("aligned", lq, gt, 4, 1080)
    assert (shape.target, shape.crop, shape.note) == (gt, (0, 0, *gt), "")


def test_an_aligned_output_that_cannot_equal_the_ground_truth_is_refused_with_both_sizes():
    for lq, gt, option in (((180, 317), (720, 1272), "native"), ((270, 480), (1080, 1920), "720p")):
        with pytest.raises(UserError, match=f"{lq[1]}x{lq[0]} makes {4 * lq[1]}x{4 * lq[0]} at x4"):
            geometry("aligned", lq, gt, 4, 1080, gt=option)
    with pytest.raises(UserError, match="--protocol cropped"):
        geometry("cropped", (180, 320), None, 4, 1080)


@pytest.mark.parametrize(
    ("lq", "largest", "target"),
    [
        ((360, 640), 1080, (1080, 1920)),
        ((640, 360), 1080, (1920, 1080)),
        ((270, 480), 1080, (1080, 1920)),
        ((360, 640), None, (1440, 2560)),
        ((500, 333), 1080, (1622, 1080)),
    ],
)
def test_outputs_without_ground_truth_are_capped_in_lines_and_the_cap_is_noted(lq, largest, target):
    shape = geometry("aligned", lq, None, 4, largest)
    assert (shape.target, shape.crop) == (target, None)
    assert bool(shape.note) == (max(lq) * 4 != max(target))


def test_a_frozen_clip_is_cut_around_its_centre_and_its_lq_fits():
    for size, option, inner in (
        ((540, 960), "native", (14, 0, 512, 960)),
        ((720, 1272), "native", (8, 28, 704, 1216)),
        ((1080, 1920), "720p", (8, 0, 704, 1280)),
        ((1080, 1080), "720p", (8, 8, 704, 704)),
    ):
        without = geometry("aligned", None, size, 4, 1080, gt=option, is_frozen=True)
        assert without.crop == inner
        lq = tuple(side // 4 for side in inner[2:])
        assert all(side % 16 == 0 for side in lq)
        assert geometry("aligned", lq, size, 4, 1080, gt=option, is_frozen=True) == without
        official = geometry("official_crop", lq, size, 4, 1080, gt=option, is_frozen=True)
        inside = all(
            0 <= official.crop[axis] - inner[axis] <= inner[axis + 2] - official.crop[axis + 2] for axis in (0, 1)
        )
        assert official.crop == inner if official.is_refitted else inside and official.crop[2:] == official.target
    with pytest.raises(UserError, match="smaller than 64"):
        frozen_crop((63, 100), 4)


def test_the_ground_truth_is_reduced_to_720_lines_by_area_averaging(tmp_path):
    assert [reduced(size) for size in ((1080, 1920), (1920, 1080), (720, 1272), (1080, 1916))] == [
        (720, 1280),
        (1280, 720),
        (720, 1272),
        (720, 1278),
    ]
    frame = moving(1, 1, 1080, 1083)[0]
    path = write_folder(tmp_path / "x", [frame])
    shape = geometry("aligned", None, (1080, 1083), 4, 1080, gt="720p")
    made = next(prepared_gt(Entry("x", None, path, 1, (1080, 1083), None), shape))
    halves = frame.repeat(2, axis=0).repeat(2, axis=1)  # three of them make a pixel
    means = halves.reshape(720, 3, 722, 3, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(made - means).max() <= 0.51


def test_the_anchor_is_the_exact_bicubic_enlargement():
    ramp = np.repeat(np.arange(0, 200, 10, dtype=np.uint8)[None, :, None], 12, axis=0).repeat(3, axis=2)
    made = enlarged(ramp, (48, 80))[:, 8:-8].astype(float)
    exact = (np.arange(80)[8:-8] + 0.5) * 2.5 - 5
    assert np.abs(made - exact[None, :, None]).max() <= 0.51
    white = np.full((8, 8, 3), 255, np.uint8)
    white[:, 4:] = 0
    assert enlarged(white, (32, 32))[:, :12].min() == 255  # clamped, not wrapped around


def test_triples_are_what_the_files_hold(pair, tmp_path):
    bench, entry, clip, small = pair
    lossless = write_video(tmp_path / "made.mkv", clip[::-1])
    for prediction in (lossless, iter(clip[::-1])):
        got = list(triples(entry, prediction, bench))
        assert len(got) == len(clip)
        for (made, true, lq), *wanted in zip(got, clip[::-1], clip, small, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip((made, true, lq), wanted, strict=True))
    without = entry._replace(gt=None, gt_size=None)
    assert [true for _, true, _ in triples(without, lossless, bench)] == [None] * len(clip)


def test_the_anchor_fits_both_protocols(pair):
    bench, entry, clip, _ = pair
    for protocol in ("aligned", "official_crop"):
        shape = geometry_of(bench, entry, protocol)
        got = list(triples(entry, bicubic(entry, shape), bench, protocol))
        assert len(got) == len(clip)
        assert {made.shape for made, _, _ in got} == {(*shape.target, 3)}
        errors = [np.abs(made.astype(float) - true).mean() for made, true, _ in got]
        assert max(errors) < 30
        wrong = [np.abs(made.astype(float) - true[::-1]).mean() for made, true, _ in got]
        assert min(wrong) > 1.3 * max(errors)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda clip: clip[:-1], "the prediction ends after 3 frames, the GT goes on"),
        (lambda clip: [*clip, clip[-1]], "the GT ends after 4 frames, the prediction goes on"),
        (lambda clip: [frame[:-1] for frame in clip], "frame 0 of the prediction is uint8 (63, 128, 3)"),
        (lambda clip: [*clip[:2], clip[2].astype(np.float32), clip[3]], "frame 2 of the prediction is float32"),
    ],
)
def test_predictions_that_do_not_fit_are_refused_by_frame(pair, spoil, message):
    bench, entry, clip, _ = pair
    with pytest.raises(UserError, match=re.escape(message)):
        list(triples(entry, iter(spoil(clip)), bench))


def test_a_truncated_video_is_refused(pair, tmp_path):
    bench, entry, clip, _ = pair
    path = write_video(tmp_path / "made.mkv", clip)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(UserError, match=r"is damaged|ends after"):
        list(triples(entry, path, bench))
    with pytest.raises(UserError, match="is damaged"):
        list(read_clip(path))


def test_frozen_ground_truth_is_cut_as_its_lq_was(tmp_path):
    clip = [cv2.copyMakeBorder(frame, 7, 6, 20, 21, cv2.BORDER_CONSTANT) for frame in moving(2)]
    path = write_folder(tmp_path / "x", clip)
    entry = Entry("x", None, path, 4, clip[0].shape[:2], (16, 32), is_frozen=True)
    shape = geometry_of(load_bench("folder"), entry)
    assert shape.crop == (6, 20, 64, 128)
    made = list(prepared_gt(entry, shape))
    assert all(np.array_equal(a[1:], b[:-1]) for a, b in zip(made, moving(2), strict=True))
