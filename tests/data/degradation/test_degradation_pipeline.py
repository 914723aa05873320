"""Properties of whole degradations, built from the shipped presets."""

from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from seedvr2.data.degradation.blur import Blur
from seedvr2.data.degradation.compression import Jpeg
from seedvr2.data.degradation.noise import Noise
from seedvr2.data.degradation.pipeline import Degradation
from seedvr2.data.degradation.resize import TargetResize
from seedvr2.data.procedural import ProceduralClips
from seedvr2.errors import UserError

PRESETS = Path(__file__).parents[3] / "configs" / "degradation"
NAMES = ("none", "light", "codec", "old_film", "test", "uav", "uav_image")


def preset(name):
    return instantiate(OmegaConf.load(PRESETS / f"{name}.yaml"))


def drawn(frames=3, height=48, width=64, seed=0):
    return ProceduralClips().clip(np.random.default_rng(seed), frames, height, width)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("frames", [1, 5])
def test_presets_give_eight_bit_clips_of_the_reduced_size(name, frames):
    clip = drawn(frames)
    before = clip.copy()
    degradation = preset(name)
    for seed in range(4):
        out = degradation(clip, np.random.default_rng(seed))
        assert out.shape == (frames, 12, 16, 3)
        assert out.dtype == np.float32
        assert np.array_equal(np.rint(out * 255) / np.float32(255), out)
        assert out.min() >= 0
        assert out.max() <= 1
    assert np.array_equal(clip, before)


@pytest.mark.parametrize("name", NAMES)
def test_equal_generators_give_equal_bytes_whatever_came_before(name):
    degradation = preset(name)
    first = [degradation(drawn(), np.random.default_rng(seed)) for seed in range(4)]
    again = [degradation(drawn(), np.random.default_rng(seed)) for seed in reversed(range(4))]
    assert all(np.array_equal(*pair) for pair in zip(first, again[::-1], strict=True))
    if name != "none":
        assert not np.array_equal(first[0], first[1])


def test_the_training_preset_runs_two_rounds_and_records_them():
    counts = {"blur": 0, "sharpen": 0}
    orders = set()
    degradation, clip = preset("uav"), drawn(2, 16, 16)
    for seed in range(60):
        record = []
        degradation(clip, np.random.default_rng(seed), record=record)
        names = [entry["op"] for entry in record]
        for operation, times in {"resize": 2, "noise": 2, "jpeg": 2, "video_codec": 2, "target_resize": 1}.items():
            assert names.count(operation) == times
        orders.add(names.index("target_resize") < len(names) - 1 - names[::-1].index("video_codec"))
        for entry in record:
            for values in entry.values():
                assert not isinstance(values, list) or len(values) in (2, 5)
        counts["blur"] += names.count("blur")
        counts["sharpen"] += names.count("sharpen")
    assert orders == {True, False}
    # One certain blur and two of probability 0.8.
    assert counts["blur"] / 60 == pytest.approx(2.6, abs=0.25)
    assert counts["sharpen"] == 0


def test_parameters_drift_in_training_and_stay_constant_in_test_sets():
    for name, is_drifting in (("uav", True), ("test", False)):
        record = []
        preset(name)(drawn(5, 16, 16), np.random.default_rng(1), record=record)
        noise = [entry for entry in record if entry["op"] == "noise"]
        spread = [np.ptp(entry.get("sigma", entry.get("scale"))) > 0 for entry in noise]
        assert spread == [is_drifting] * 2


def test_the_reduction_only_preset_is_the_area_mean():
    clip = drawn()
    mean = clip.reshape(3, 12, 4, 16, 4, 3).mean(axis=(2, 4))
    assert np.abs(preset("none")(clip, np.random.default_rng(0)) - mean).max() <= 0.51 / 255


def test_operations_do_not_disturb_each_others_draws():
    # A longer clip needs more noise, other noise needs other numbers; the rest stays what it was.
    def drawn_with(kind, frames):
        record = []
        degradation = Degradation([Noise({kind: 1}), Jpeg(), TargetResize(), Jpeg()])
        degradation(drawn(frames, 16, 16), np.random.default_rng(3), record=record)
        _, first, resize, last = record
        return first["quality"][0], resize["by"], last["quality"][0]

    expected = drawn_with("gaussian", 2)
    assert drawn_with("gaussian", 7) == expected
    assert drawn_with("poisson", 2) == expected
    assert expected[0] != expected[2]


def test_operations_can_be_watched():
    seen = []

    def watch(operations):
        for operation in operations:
            seen.append(operation)
            yield operation

    degradation = preset("light")
    watched = degradation(drawn(), np.random.default_rng(0), watch=watch)
    assert np.array_equal(watched, degradation(drawn(), np.random.default_rng(0)))
    assert seen == list(degradation.ops)


def test_degradations_that_miss_their_target_are_refused():
    with pytest.raises(UserError, match="TargetResize"):
        Degradation([Blur()])(drawn(), np.random.default_rng(0))
    with pytest.raises(UserError, match="multiple"):
        Degradation([TargetResize()])(drawn(1, 30, 32), np.random.default_rng(0))
