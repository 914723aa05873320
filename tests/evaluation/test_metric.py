"""All metrics keep the contract; those that run without weights get worse when a picture does."""

import math

import cv2
import numpy as np
import pytest

from seedvr2.errors import UserError
from seedvr2.evaluation.metric import METRICS, Clip, Settings, make_metrics, score

LEARNED = {"lpips", "dists", "niqe", "musiq", "clipiqa", "dover"}
FULL_REFERENCE = ["psnr", "psnr_y", "ssim", "ssim_y", "vmaf"]
PERFECT = {"psnr": math.inf, "psnr_y": math.inf, "ssim": 1, "ssim_y": 1}

pytest.importorskip("imageio_ffmpeg")


@pytest.fixture(scope="module")
def clip():
    """A scene with edges, texture and a smooth ground in motion, uint8 (5, 144, 192, 3)."""
    random = np.random.default_rng(0)
    ground = cv2.GaussianBlur(random.normal(0, 1, (200, 260, 3)), None, 25)
    texture = cv2.GaussianBlur(random.normal(0, 1, (200, 260, 3)), None, 1)
    wide = 120 + 45 * ground / ground.std() + 18 * texture / texture.std()
    for number in range(12):
        corner = random.integers((0, 0), (180, 240))
        colour = tuple(random.integers(20, 235, 3).tolist())
        cv2.rectangle(
            wide, corner.tolist(), (corner + random.integers(10, 50, 2)).tolist(), colour, -1 if number % 2 else 2
        )
    wide = np.clip(wide, 0, 255).astype(np.uint8)
    return np.stack([wide[4 * t : 4 * t + 144, 6 * t : 6 * t + 192] for t in range(5)])


def blur(clip):
    return np.stack([cv2.GaussianBlur(frame, None, 1.2) for frame in clip])


def noise(clip):
    grain = np.random.default_rng(1).normal(0, 10, clip.shape)
    return np.clip(clip + grain, 0, 255).round().astype(np.uint8)


def shift(clip):
    return np.pad(clip, ((0, 0), (0, 0), (1, 0), (0, 0)), mode="edge")[:, :, :-1]


@pytest.fixture(scope="module")
def metrics():
    usable, missing = make_metrics(FULL_REFERENCE)
    assert missing == {}
    return usable


@pytest.fixture(scope="module")
def perfect(metrics, clip):
    return score(metrics, clip, clip)


def test_equal_clips_score_infinite_one_or_near_100(perfect):
    assert {name: perfect[name] for name in PERFECT} == pytest.approx(PERFECT)
    assert perfect["vmaf"] > 95


@pytest.mark.parametrize("harm", [blur, noise, shift])
def test_harm_lowers_every_full_reference_score(harm, metrics, perfect, clip):
    harmed = score(metrics, harm(clip), clip)
    assert list(harmed) == FULL_REFERENCE
    better = {metric.facts.name: metric.facts.better for metric in metrics}
    assert set(better.values()) == {"higher"}
    for name, value in harmed.items():
        assert value < perfect[name] - (0.005 if "ssim" in name else 1), name


def test_more_harm_lowers_scores_further(metrics, clip):
    once, twice = (score(metrics, harmed, clip) for harmed in (blur(clip), blur(blur(clip))))
    assert all(twice[name] < once[name] for name in FULL_REFERENCE)


def test_noise_and_a_jump_at_each_latent_raise_what_should_be_low(clip):
    metrics, _ = make_metrics(["warp_error", "boundary_jump", "color_drift"], Settings(flow="dis"))
    long = np.concatenate([clip, clip[::-1][1:]])
    true = score(metrics, long, long)
    noisy = score(metrics, noise(long), long)
    steps = np.array([0] + [8] * 4 + [0] * 4)[:, None, None, None]
    jumping = score(metrics, np.clip(long.astype(int) + steps, 0, 255).astype(np.uint8), long)
    assert noisy["warp_error"] > true["warp_error"]
    assert jumping["warp_error"] > true["warp_error"]
    assert jumping["boundary_jump"] > true["boundary_jump"]
    assert true["color_drift"] == 0
    assert jumping["color_drift"] > 3
    assert {metric.facts.better for metric in metrics} == {"lower"}


def test_names_of_facts_are_those_of_the_table(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    usable, missing = make_metrics(list(METRICS), Settings(weights_dir=tmp_path))
    assert [metric.facts.name for metric in usable] == [name for name in METRICS if name not in LEARNED]
    assert set(missing) == LEARNED
    assert all("missing" in reason for reason in missing.values())
    assert all(metric.facts.definition.endswith(".") and metric.facts.version for metric in usable)


def test_an_unknown_name_is_refused_with_the_known_ones_and_a_repeated_one_made_once():
    with pytest.raises(UserError, match=r"'pnsr'.*psnr_y"):
        make_metrics(["psnr", "pnsr"])
    assert len(make_metrics(["psnr", "psnr"])[0]) == 1


def test_every_metric_forgets_the_clip_before(clip):
    metrics, _ = make_metrics(
        ["psnr", "ssim_y", "vmaf", "warp_error", "boundary_jump", "color_drift", "lq_consistency", "hf", "swd"]
    )
    lq = clip[:, ::4, ::4]

    def run(metric, prediction):
        metric.start(Clip("clip", len(clip), *clip.shape[1:3]))
        for frames in zip(prediction, clip, lq, strict=True):
            metric.add(*frames)
        return metric.result()

    for metric in metrics:
        first = run(metric, noise(clip))
        assert first not in (None, run(metric, blur(clip)))
        assert run(metric, noise(clip)) == pytest.approx(first)
