"""VMAF is that of the ffmpeg it uses, for lossless copies of the frames."""

import json
import subprocess

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from seedvr2.evaluation.contract import Clip, Unavailable
from seedvr2.evaluation.vmaf import LUMA, Vmaf
from seedvr2.io.images import write_image


@pytest.fixture(scope="module")
def clip():
    """Detail in motion, uint8 (5, 96, 130, 3): the width is no multiple of 4."""
    noise = np.random.default_rng(0).normal(0, 1, (140, 160, 3))
    layers = [cv2.GaussianBlur(noise, None, sigma) * sigma for sigma in (1.2, 5)]
    wide = np.clip(128 + 45 * sum(layers) / sum(layers).std(), 0, 255).astype(np.uint8)
    return np.stack([wide[2 * t : 96 + 2 * t, 3 * t : 130 + 3 * t] for t in range(5)])


def value(prediction, gt, metric=None):
    metric = metric or Vmaf()
    metric.start(Clip("clip", len(gt), *gt.shape[1:3]))
    for pair in zip(prediction, gt, strict=True):
        metric.add(*pair)
    return metric.result()


def blurred(clip, sigma):
    return np.stack([cv2.GaussianBlur(frame, None, sigma) for frame in clip])


def test_it_agrees_with_ffmpeg_reading_the_frames_from_png_files(clip, tmp_path):
    bad = blurred(clip, 1.0)
    for name, frames in (("bad", bad), ("good", clip)):
        for number, frame in enumerate(frames):
            write_image(tmp_path / f"{name}{number}.png", frame)
    graph = f"[0:v]{LUMA}[d];[1:v]{LUMA}[r];[d][r]libvmaf=model='version=vmaf_v0.6.1':log_fmt=json:log_path=vmaf.json"
    inputs = [word for name in ("bad", "good") for word in ("-framerate", "25", "-i", f"{name}%d.png")]
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *inputs, "-lavfi", graph, "-f", "null", "-"]
    subprocess.run(program, cwd=tmp_path, check=True)
    said = json.loads((tmp_path / "vmaf.json").read_text())
    assert len(said["frames"]) == len(clip)
    assert value(bad, clip) == pytest.approx(said["pooled_metrics"]["vmaf"]["mean"], abs=1e-6)
    assert 5 < value(bad, clip) < 95  # not at an end of the scale, where many clips agree


def test_equal_clips_are_near_100_and_blur_lowers_the_score(clip):
    metric = Vmaf()
    values = [value(blurred(clip, sigma) if sigma else clip, clip, metric) for sigma in (0, 0.6, 1.5)]
    assert values[0] > 95
    assert values[0] > values[1] > values[2]


def test_a_single_frame_has_a_score_and_none_has_none(clip):
    assert value(clip[:1], clip[:1]) > 90
    metric = Vmaf()
    metric.start(Clip("clip", 0, 96, 130))
    assert metric.result() is None


def test_temporary_files_go_with_the_result_and_with_a_clip_given_up(clip, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    metric = Vmaf()
    metric.start(Clip("given up", 9, 96, 130))
    metric.add(clip[0], clip[0])
    assert len(list(tmp_path.glob("vmaf-*/*.mkv"))) == 2
    assert value(clip, clip, metric) > 95
    assert list(tmp_path.iterdir()) == []
    assert "ffmpeg" in metric.facts.version


@pytest.mark.parametrize(("script", "said"), [("echo filters", "has no libvmaf"), ("exit 1", "cannot be run")])
def test_an_ffmpeg_without_vmaf_makes_the_metric_unavailable(tmp_path, monkeypatch, script, said):
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(Unavailable, match=said):
        Vmaf()
