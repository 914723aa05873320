"""The restorer of Python code: the very frames of the command, and results like what was given."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from seedvr2 import Restorer, infer
from seedvr2.errors import UserError
from seedvr2.io.media import open_media
from seedvr2.restore.loading import Choice
from tests.data.clips import pan, write_clip

ROOT = Path(__file__).parents[2]
SETTINGS = {"seed": 3, "window": 5, "dtype": "fp32", "device": "cpu"}


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer("tiny", **SETTINGS)


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """Eleven frames of two scenes, uint8 (11,32,48,3)."""
    return np.stack(pan(1, 6, height=32, width=48) + pan(2, 5, height=32, width=48))


@pytest.fixture(scope="module")
def result(restorer, clip) -> np.ndarray:
    return restorer.restore(clip, scale=1)


def command(path: Path, output: Path, *more: str) -> np.ndarray:
    settings = [part for name, value in SETTINGS.items() for part in (f"--{name}", str(value))]
    infer.main(["--input", str(path), "--output", str(output), "--model", "tiny", "--quiet", *settings, *more])
    with open_media(output) as media:
        return np.stack([picture.rgb for picture in media.pictures()])


def test_results_are_the_frames_that_the_command_writes(restorer, clip, result, tmp_path):
    film = write_clip(tmp_path / "film.mkv", list(clip), codec="ffv1", pixels="bgr0")
    options = ("--scale", "1", "--segment", "4")
    assert np.array_equal(result, command(film, tmp_path / "out.mkv", "--codec", "ffv1", *options))
    assert np.array_equal(result, command(film, tmp_path / "frames", "--pictures", "png", *options))
    one_shot = command(film, tmp_path / "one.mkv", "--codec", "ffv1", "--no-shots", *options)
    assert np.array_equal(restorer.restore(clip, scale=1, cuts=()), one_shot)
    assert not np.array_equal(result, one_shot)


def test_results_are_like_what_was_given(restorer, clip, result):
    tensor = restorer.restore(torch.from_numpy(clip).permute(0, 3, 1, 2), scale=1)
    assert tensor.dtype == torch.uint8
    assert torch.equal(tensor.permute(0, 2, 3, 1), torch.from_numpy(result))
    for dtype, most in ((np.uint16, 65535), (np.float32, 1), (np.float64, 1)):
        given = (clip / 255 * most).round().astype(dtype) if most > 1 else (clip / 255).astype(dtype)
        found = restorer.restore(given, scale=1)
        assert (found.dtype, found.shape) == (dtype, clip.shape)
        assert np.abs(found / most * 255 - result).max() < 0.51
    deep = torch.from_numpy(clip[:1].astype(np.uint16) * np.uint16(257)).permute(0, 3, 1, 2)
    found = restorer.restore(deep, scale=1)
    assert found.dtype == torch.uint16
    assert np.array_equal(
        found.permute(0, 2, 3, 1).numpy(), restorer.restore(deep.permute(0, 2, 3, 1).numpy(), scale=1)
    )
    half = restorer.restore(torch.from_numpy(clip).permute(0, 3, 1, 2).half() / 255, scale=1)
    assert half.dtype == torch.float16
    assert (half.permute(0, 2, 3, 1) * 255 - torch.from_numpy(result)).abs().max() < 2


def test_a_picture_is_a_clip_of_one(restorer, clip):
    of_clip = restorer.restore(clip[:1], size=(40, 50))[0]
    assert of_clip.shape == (40, 50, 3)
    assert np.array_equal(restorer.restore(clip[0], size=(40, 50)), of_clip)
    assert np.array_equal(restorer.restore(Image.fromarray(clip[0]), size=(40, 50)), of_clip)
    assert torch.equal(
        restorer.restore(torch.from_numpy(clip[0]).permute(2, 0, 1), size=(40, 50)).permute(1, 2, 0),
        torch.from_numpy(of_clip),
    )


def test_a_long_film_comes_out_frame_by_frame_and_is_never_held(restorer, clip, result):
    drawn = 0

    def film():
        nonlocal drawn
        for frame in clip[np.arange(40) % len(clip)]:
            drawn += 1
            yield frame

    results = restorer.restore(film(), scale=1)
    assert drawn == 0
    for count, frame in enumerate(results, 1):
        assert drawn - count < 25
        if count <= len(clip) - 5:  # the last ones of the short clip see other frames behind them
            assert np.array_equal(frame, result[count - 1])
    assert count == 40
    frames = restorer.restore([Image.fromarray(frame) for frame in clip], scale=1)
    assert isinstance(frames, list)
    assert np.array_equal(np.stack(frames), result)


def test_it_is_silent_and_leaves_what_it_was_given(restorer, clip, result, capfd):
    given = clip.astype(np.float32) / 255
    before = given.copy()
    first = restorer.restore(given, scale=1)
    assert np.array_equal(first, restorer.restore(given, scale=1))
    assert np.array_equal(given, before)
    assert capfd.readouterr() == ("", "")
    restorer.restore(clip[:1], scale=1, progress=True)
    assert "1 of 1 frames" in capfd.readouterr().err


def test_the_default_size_is_that_of_the_command(restorer, clip):
    assert restorer.restore(clip[0]).shape == (128, 192, 3)
    assert np.array_equal(Restorer("identity").restore(clip), clip)


@pytest.mark.parametrize(
    ("frames", "settings", "match"),
    [
        (torch.full((1, 3, 8, 8), -0.5), {}, r"from -0.5 to -0.5, and floats must be in \[0, 1\]"),
        (np.full((1, 8, 8, 3), 255.0), {}, "x / 255"),
        (np.full((1, 8, 8, 3), np.nan), {}, "NaN"),
        (torch.zeros(1, 8, 8, 3), {}, r"no frame \(3,H,W\)"),
        (torch.zeros(1, 5, 3, 8, 8), {}, r"no frame \(3,H,W\)"),
        (np.zeros((1, 3, 8, 8), np.uint8), {}, r"no frame \(H,W,3\)"),
        (np.zeros((8, 8, 3), np.int64), {}, "int64 is no picture"),
        (torch.zeros(0, 3, 8, 8), {}, "no frame; give at least one"),
        (Image.new("RGBA", (8, 8)), {}, "mode RGBA is not RGB"),
        (["lq.mp4"], {}, "str is no frame"),
        (7, {}, "int is no frame"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)], {}, "frame 1 .* is not like those before it"),
        (np.zeros((1, 8, 8, 3), np.uint8), {"scale": 2, "short_side": 8}, "give one of them"),
        (np.zeros((1, 8, 8, 3), np.uint8), {"scale": 0}, "positive factor"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"cuts": [2]}, "lies beyond the 2 frames"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"cuts": [-1]}, "frames count from 0"),
    ],
)
def test_mistakes_are_one_sentence(frames, settings, match):
    with pytest.raises(UserError, match=match) as error:
        Restorer("identity").restore(frames, **settings)
    assert "\n" not in str(error.value)


def test_settings_are_those_of_the_command():
    settings = inspect.signature(Restorer).parameters
    assert {name: value.default for name, value in settings.items()} == Choice()._asdict()
    mistakes = (
        ({"dtype": "int8"}, "no precision int8"),
        ({"window": 4}, "--window 4 is not 4k"),
        ({"vae": "quick"}, "no way quick"),
    )
    for wrong, match in mistakes:
        with pytest.raises(UserError, match=match):
            Restorer("tiny", **wrong)
    by_object = Restorer("tiny", dtype=torch.float32, device=torch.device("cpu"), seed=3, window=5)
    assert repr(by_object) == repr(Restorer("tiny", **SETTINGS))


def test_the_package_alone_is_light():
    code = "import sys, seedvr2; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(ImportError):
        exec("from seedvr2 import Restored")


def test_the_example_of_the_readme_runs_as_it_stands(capsys):
    readme = (ROOT / "README.md").read_text()
    example = re.search(r"\*\*Use it from Python\*\*.*?```python\n(.*?)```", readme, re.DOTALL).group(1)
    names: dict = {}
    exec(example, names)
    assert names["restored"].shape == (5, 3, 72, 128)
    assert capsys.readouterr().out.splitlines() == ["(72, 128, 3)"] * 9


@pytest.mark.parametrize("seed", ["a", 1.5, None])
def test_a_seed_that_is_no_whole_number_is_refused(seed):
    with pytest.raises(UserError, match=re.escape(f"the seed is {seed!r}")):
        Restorer("tiny", **(SETTINGS | {"seed": seed}))


@pytest.mark.parametrize(
    ("facts", "missing"),
    [
        ({}, "rank"),
        ({"rank": 4}, "alpha"),
        ({"rank": 4, "alpha": 4.0}, "base"),
        ({"rank": "4", "alpha": 4.0, "base": "x", "strength": 1.0}, "rank"),
        ("lora", "rank"),
    ],
)
def test_adapters_that_do_not_say_what_they_are_are_refused(tmp_path, facts, missing):
    path = tmp_path / "lora.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"seedvr2": json.dumps({"lora": facts})})
    with pytest.raises(UserError, match=f"does not say the {missing} of its adapters"):
        Restorer("tiny", lora=path, **SETTINGS)


def test_results_do_not_depend_on_the_defaults_of_the_program(restorer, clip, result):
    before = torch.get_default_dtype()
    try:
        for dtype, device in ((torch.float64, "cpu"), (torch.float16, "cpu"), (torch.float32, "meta")):
            torch.set_default_dtype(dtype)
            torch.set_default_device(device)
            assert np.array_equal(restorer.restore(clip, scale=1), result)
    finally:
        torch.set_default_dtype(before)
        torch.set_default_device(None)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"lora": "/nowhere/lora.safetensors"}, "/nowhere/lora.safetensors"),
        ({"color_fix": "wavlet"}, "no colour fix 'wavlet'"),
        ({"posterior": "mode"}, "no posterior mode"),
    ],
)
def test_mistakes_are_found_before_anything_is_loaded(settings, match, monkeypatch):
    monkeypatch.setattr("seedvr2.restore.loading.fetched", lambda *_, **__: pytest.fail("it was fetched"))
    with pytest.raises(UserError, match=match):
        Restorer("tiny", **settings)
