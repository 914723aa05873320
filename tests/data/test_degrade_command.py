"""`python -m seedvr2.data.degrade`: lossless and repeatable outputs, and mistakes that end in one sentence."""

import hashlib
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from seedvr2 import config
from seedvr2.data import degrade
from seedvr2.data.degradation.draw import to_bytes, to_floats
from seedvr2.io.images import read_image, write_image
from seedvr2.io.reader import open_video, read_frames
from seedvr2.io.writer import VideoWriter
from seedvr2.randomness import numpy_generator

STAMPS = (0, 1001, 2002, 5005, 6006)  # of a variable rate


def picture(index, height=48, width=64):
    rows, columns = np.mgrid[:height, :width] / 8
    waves = [np.sin(rows + 0.3 * index), np.cos(columns), np.sin(rows + columns)]
    return (127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.fixture
def video(tmp_path):
    """Five frames of 64x48 with time stamps of their own."""
    path = tmp_path / "in" / "clip.mp4"
    path.parent.mkdir()
    options = {"rate": Fraction(30000, 1001), "time_base": Fraction(1, 30000), "sample_aspect": Fraction(16, 11)}
    with VideoWriter(path, width=64, height=48, **options) as writer:
        for index, stamp in enumerate(STAMPS):
            writer.write(picture(index), pts=stamp)
    return path


@pytest.fixture
def frames(tmp_path):
    """A folder of eleven frames, numbered without leading zeros."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(1, 12):
        write_image(folder / f"{index}.png", picture(index))
    return folder


def run(*arguments):
    degrade.main([str(argument) for argument in arguments])


def expected(clean, name="uav", seed=7):
    """What the library makes of uint8 frames, and what it draws."""
    record = []
    degradation = config.build(config.plain(config.load(f"degradation/{name}"))["degradation"])
    lq = degradation(to_floats(np.stack(clean)), numpy_generator(seed, "degrade"), record=record)
    return [to_bytes(frame) for frame in lq], json.loads(json.dumps(record))


def fails(capsys, *arguments, match):
    """The command ends with exit code 2 and one sentence, which contains `match`."""
    with pytest.raises(SystemExit) as ending:
        run(*arguments)
    assert ending.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("seedvr2.data.degrade: ")
    assert said.count("\n") == 1
    assert match in said


def test_the_video_holds_the_degraded_frames_bit_for_bit_at_their_times(video, tmp_path, capsys):
    run("--input", video, "--preset", "uav", "--seed", 7, "--output", tmp_path / "lq.mkv")
    lq, record = expected(list(read_frames(video)))
    facts = json.loads((tmp_path / "lq.json").read_text())
    with open_video(tmp_path / "lq.mkv") as result:
        written = list(result.frames())
        times = [stamp * result.info.time_base for _, stamp in written]
    assert len(written) == len(STAMPS)
    assert np.array_equal([frame for frame, _ in written], lq)
    assert [float(time) for time in times] == pytest.approx([stamp / 30000 for stamp in STAMPS], abs=0.001)
    assert facts["drawn"] == record
    assert (facts["seed"], facts["frames"], facts["size"], facts["clean_size"]) == (7, 5, [12, 16], [48, 64])
    assert facts["sha256"] == hashlib.sha256(np.stack(lq).tobytes()).hexdigest()
    assert config.build(facts["degradation"]).target_scale == 4
    said = capsys.readouterr().out
    assert "lq.mkv" in said
    assert "lq.json" in said
    with open_video(tmp_path / "lq.mkv") as lq_video:
        assert lq_video.info.sample_aspect == Fraction(16, 11)


def test_equal_seeds_give_equal_files_in_another_process_and_place(video, tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
    run("--input", video, "--output", tmp_path / "a" / "lq.mkv", "--seed", 3)
    command = [sys.executable, "-m", "seedvr2.data.degrade", "--input", video, "--output", tmp_path / "b" / "lq.mkv"]
    subprocess.run([*command, "--seed", "3"], check=True, capture_output=True, cwd=Path(degrade.__file__).parents[2])
    for name in ("lq.mkv", "lq.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    run("--input", video, "--output", tmp_path / "a" / "lq.mkv", "--seed", 4, "--overwrite")
    for name in ("lq.mkv", "lq.json"):
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "b" / name).read_bytes()


def test_folders_of_frames_are_read_by_number_and_can_be_written(frames, tmp_path):
    run("--input", frames, "--preset", "light", "--output", tmp_path / "lq", "--seed", 7)
    run("--input", frames, "--preset", "light", "--output", tmp_path / "same.mkv", "--seed", 7)
    lq, _ = expected([picture(index) for index in range(1, 12)], "light")
    written = sorted((tmp_path / "lq").iterdir())
    assert [path.name for path in written] == [f"{number:06d}.png" for number in range(11)]
    assert np.array_equal([read_image(path) for path in written], lq)
    assert np.array_equal(list(read_frames(tmp_path / "same.mkv")), lq)
    assert (tmp_path / "lq.json").is_file()


def test_images_become_images(tmp_path):
    write_image(tmp_path / "a.png", picture(0))
    run("--input", tmp_path / "a.png", "--preset", "uav_image", "--output", tmp_path / "lq.png", "--seed", 7)
    assert np.array_equal([read_image(tmp_path / "lq.png")], expected([picture(0)], "uav_image")[0])


def test_sizes_that_do_not_divide_are_cut_evenly_and_it_is_said(tmp_path, capsys):
    write_image(tmp_path / "a.png", picture(0, 51, 66))
    run("--input", tmp_path / "a.png", "--preset", "none", "--output", tmp_path / "lq.png", "--seed", 7)
    cut = picture(0, 51, 66)[1:49, 1:65]
    assert np.array_equal([read_image(tmp_path / "lq.png")], expected([cut], "none")[0])
    assert "66x51 is cut to 64x48" in capsys.readouterr().out


def test_only_the_first_frames_can_be_taken(video, tmp_path):
    run("--input", video, "--preset", "none", "--frames", 2, "--output", tmp_path / "lq.mkv")
    assert len(list(read_frames(tmp_path / "lq.mkv"))) == 2


def test_the_sheet_shows_the_seeds_from_the_first_on(video, tmp_path):
    options = ["--input", video, "--preset", "light", "--draws", 3]
    run(*options, "--sheet", tmp_path / "a.png")
    run(*options, "--sheet", tmp_path / "b.png")
    run(*options, "--sheet", tmp_path / "c.png", "--seed", 1)
    first, again, other = (read_image(tmp_path / f"{name}.png") for name in "abc")
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert min(first.shape[:2]) > 400
    assert not list(tmp_path.glob("*.json"))


def test_own_degradations_are_taken_from_a_file(video, tmp_path, capsys):
    described = (config.folder() / "degradation" / "none.yaml").read_text()
    (tmp_path / "own file=1.yaml").write_text(described.replace("target_scale: 4", "target_scale: 2"))
    options = ["--input", video, "--output", tmp_path / "lq.mkv"]
    run(*options, "--preset", tmp_path / "own file=1.yaml")
    assert next(iter(read_frames(tmp_path / "lq.mkv"))).shape == (24, 32, 3)
    capsys.readouterr()
    for text, match in (
        ("a: [", "no YAML"),
        ("", "empty"),
        ("a: 1", "describes no Degradation"),
        ("_target_: seedvr2.data.degradation.blur.Blur", "describes no Degradation"),
        (described.replace("TargetResize", "TargetSize"), "TargetSize"),
        (described.replace("area: 1.0", "lanczos: 1.0"), "lanczos"),
    ):
        (tmp_path / "own.yaml").write_text(text)
        fails(capsys, *options, "--overwrite", "--preset", tmp_path / "own.yaml", match=match)


def test_long_work_says_how_far_it_is(video, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(degrade, "SILENCE", -1.0)
    run("--input", video, "--preset", "light", "--output", tmp_path / "lq.mkv")
    assert "operation 4 of 4\n" in capsys.readouterr().err


MISTAKES = {
    "no input": (["--output", "lq.mkv"], "--input"),
    "missing input": (["--input", "no.mp4", "--output", "lq.mkv"], "no.mp4"),
    "no video": (["--input", "text.mp4", "--output", "lq.mkv"], "text.mp4"),
    "empty folder": (["--input", "empty", "--output", "lq.mkv"], "empty"),
    "names without numbers": (["--input", "names", "--output", "lq.mkv"], "cover.png"),
    "sizes that change": (["--input", "sizes", "--output", "lq.mkv"], "at frame 1"),
    "too small": (["--input", "small.png", "--output", "lq.png"], "too small"),
    "nothing asked for": (["--input", "clip.mp4"], "--output"),
    "unknown preset": (["--input", "clip.mp4", "--output", "lq.mkv", "--preset", "vhs"], "old_film"),
    "missing preset": (["--input", "clip.mp4", "--output", "lq.mkv", "--preset", "no.yaml"], "no.yaml"),
    "no number": (["--input", "clip.mp4", "--output", "lq.mkv", "--seed", "x"], "--seed"),
    "no frames": (["--input", "clip.mp4", "--output", "lq.mkv", "--frames", "0"], "--frames 0"),
    "no draws": (["--input", "clip.mp4", "--sheet", "a.png", "--draws", "-1"], "--draws -1"),
    "little memory": (["--input", "clip.mp4", "--output", "lq.mkv", "--memory", "0.0008"], "--frames 2"),
    "no memory": (["--input", "clip.mp4", "--output", "lq.mkv", "--memory", "1e-6"], "larger --memory"),
    "lossy video": (["--input", "clip.mp4", "--output", "lq.mp4"], ".mkv"),
    "lossy image": (["--input", "small.png", "--output", "lq.jpg"], ".png"),
    "video of an image": (["--input", "small.png", "--output", "lq.mkv"], ".png"),
    "sheet that is no picture": (["--input", "clip.mp4", "--sheet", "a.mkv"], "a.mkv"),
    "two outputs of one name": (["--input", "small.png", "--output", "a.png", "--sheet", "a.png"], "two names"),
    "missing folder": (["--input", "clip.mp4", "--output", "no/lq.mkv"], "no"),
    "missing folder of frames": (["--input", "clip.mp4", "--output", "no/lq"], "no"),
    "output in the way": (["--input", "clip.mp4", "--output", "old.mkv"], "--overwrite"),
    "record in the way": (["--input", "clip.mp4", "--output", "facts.mkv"], "facts.json"),
    "folder in the way": (["--input", "clip.mp4", "--output", "empty", "--overwrite"], "existing folder"),
    "output is the input": (["--input", "old.mkv", "--output", "old.mkv", "--overwrite"], "is the input"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_end_with_one_sentence_and_leave_nothing(name, video, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video.rename("clip.mp4")
    video.parent.rmdir()
    for folder in ("empty", "names", "sizes"):
        Path(folder).mkdir()
    for path, size in (("small.png", 2), ("names/cover.png", 48), ("sizes/1.png", 48), ("sizes/2.png", 44)):
        write_image(path, picture(0, size, size))
    for path in ("text.mp4", "old.mkv", "facts.json"):
        Path(path).write_text("text")
    before = {path: path.read_bytes() if path.is_file() else None for path in sorted(tmp_path.rglob("*"))}
    arguments, match = MISTAKES[name]
    fails(capsys, *arguments, match=match)
    assert {path: path.read_bytes() if path.is_file() else None for path in sorted(tmp_path.rglob("*"))} == before


@pytest.mark.parametrize("options", [["--output", "lq.mkv"], ["--output", "lq"], ["--sheet", "lq.png"]])
def test_a_read_only_folder_is_told_before_the_work(options, video, tmp_path, capsys, monkeypatch):
    # The superuser may write anywhere, so the answer of the system is set here.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(degrade, "read", None)
    monkeypatch.chdir(tmp_path)
    fails(capsys, "--input", video, *options, match="not writable")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("options", "place"),
    [
        (["--output", "lq.mkv"], ".lq.mkv.part"),
        (["--output", "lq.mkv"], ".lq.json.part"),
        (["--sheet", "sheet.png"], "sheet.png.part"),
    ],
)
def test_a_full_disk_is_told_in_one_sentence(options, place, frames, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    real = os.unlink
    Path(place).symlink_to("/dev/full")
    monkeypatch.setattr("seedvr2.io.files.remove", lambda path: None if path.is_symlink() else real(path))
    fails(capsys, "--input", frames, "--preset", "none", *options, match="cannot be written")
    assert not any(path.suffix in (".json", ".png") and path.is_file() for path in tmp_path.iterdir())
