"""Every setting does what it says to the pictures."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from seedvr2 import Restorer, infer, train
from seedvr2.io.media import open_media
from seedvr2.restore.loading import Choice
from seedvr2.restore.plan.choose import predict, ways
from seedvr2.restore.plan.prediction import Film
from seedvr2.restore.planning import task_of
from seedvr2.restore.resize import Size
from tests.data.clips import pan, write_clip
from tests.restore.test_restore_restorer import SETTINGS


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """Nine frames of two scenes, uint8 (9,32,48,3)."""
    return np.stack(pan(1, 5, height=32, width=48) + pan(2, 4, height=32, width=48))


@pytest.fixture(scope="module")
def usual(clip) -> np.ndarray:
    return Restorer("tiny", **SETTINGS).restore(clip, scale=1)


@pytest.fixture
def change(clip, usual) -> Callable[..., float]:
    """Mean difference, in steps of 8 bits, between the usual pictures and those of other settings."""

    def of(**settings) -> float:
        other = Restorer("tiny", **SETTINGS, **settings).restore(clip, scale=1)
        return float(np.abs(other.astype(int) - usual).mean())

    return of


@pytest.mark.parametrize("settings", [{"offload": 0}, {"offload": 3}])
def test_where_weights_lie_changes_nothing(change, settings):
    assert change(**settings) == 0


@pytest.mark.parametrize(
    ("settings", "most"),
    [({"weights": "int8"}, 1.0), ({"weights": "fp8"}, 2.0), ({"posterior": "mean"}, 3.0)],
)
def test_other_ways_are_other_pictures_and_not_far_off(change, settings, most):
    assert 0 < change(**settings) <= most


def test_the_plain_autoencoder_gives_the_same_pictures_but_for_rounding(change):
    assert change(vae="plain") <= 0.01


def test_adain_gives_the_colours_of_the_input(clip):
    def off(fix: str) -> float:
        made = Restorer("tiny", **SETTINGS, color_fix=fix).restore(clip, scale=1)
        return float(np.abs(made.mean(axis=(1, 2)) - clip.mean(axis=(1, 2))).max())

    assert off("adain") < 1 < off("none")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """What the fine-tuning of the documents writes after two steps."""
    folder = tmp_path_factory.mktemp("lora")
    short = ["iterations=2", "save_every=0", "preview_every=0", "feed.pool=1", "objective.merge=false"]
    train.main(
        [
            "+experiment=finetune_debug_lora",
            "run.weights=seedvr2/assets/tiny",
            f"run.dir={folder}",
            *(f"stages.finetune.{setting}" for setting in short),
        ]
    )
    return folder / "finetune/final/lora.safetensors"


def test_adapters_change_pictures_as_much_as_their_strength_says(change, adapters):
    assert change(lora=adapters, lora_strength=0.0) == 0
    assert 0 < change(lora=adapters, lora_strength=0.5) < change(lora=adapters, lora_strength=2.0)


def test_a_plan_is_obeyed(tmp_path, capsys):
    film = write_clip(tmp_path / "film.mkv", pan(1, 14, height=32, width=32), codec="ffv1", pixels="bgr0")
    with open_media(film) as media:
        task = task_of(Choice("tiny", dtype="fp32"), Film(Size(32, 32), Size(32, 32), media.info.frames))
    first, *_, least = ways(task)
    first, least = predict(task, first), predict(task, least)
    assert least.settings.window < first.settings.window
    made = []
    for name, how in {
        "less": ("--max-memory", f"{least.needed}B"),
        "asked": ("--window", 4 * least.settings.window - 3),
    }.items():
        output = tmp_path / f"{name}.mkv"
        command = [
            "--input",
            film,
            "--output",
            output,
            "--codec",
            "ffv1",
            "--model",
            "tiny",
            "--scale",
            1,
            "--dtype",
            "fp32",
            *how,
        ]
        infer.main(list(map(str, command)))
        assert json.loads((tmp_path / f"{name}.mkv.json").read_text())["model"]["window"] == least.settings.window
        with open_media(output) as media:
            made.append(np.stack([picture.rgb for picture in media.pictures()]))
    assert (
        np.abs(made[0].astype(int) - made[1]).mean() < 0.1
    )  # in bf16 the way through the autoencoder rounds differently
    assert capsys.readouterr().out.count("frames in a window do not fit, so results differ") == 1
