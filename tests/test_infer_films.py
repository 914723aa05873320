"""Films through the command: nothing is lost by kills, cuts, depths, transparency, or bad neighbours."""

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from seedvr2 import infer
from seedvr2.errors import UserError
from seedvr2.io.images import read_image, write_image
from seedvr2.io.media import open_media
from seedvr2.restore import job
from seedvr2.restore.plan import choose
from seedvr2.restore.plan.prediction import trace_run
from tests.data.clips import pan, texture, write_clip

SMALL = ["--scale", "1", "--segment", "6", "--window", "9", "--dtype", "fp32"]


def run(*arguments) -> None:
    infer.main([str(argument) for argument in arguments])


def frames(path) -> np.ndarray:
    with open_media(path) as media:
        return np.stack([picture.rgb for picture in media.pictures()])


def stamps(path) -> list[Fraction]:
    with open_media(path) as media:
        return [picture.pts * media.info.time_base for picture in media.pictures()]


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Twenty frames of two scenes, 32x48."""
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    scenes = pan(1, 11, height=32, width=48) + pan(2, 9, height=32, width=48)
    return write_clip(path, scenes, codec="ffv1", pixels="bgr0")


@pytest.fixture(scope="module")
def restored(film) -> np.ndarray:
    """What an uninterrupted run makes of it."""
    run("--input", film, "--output", film.with_name("whole.mkv"), "--codec", "ffv1", *SMALL)
    return frames(film.with_name("whole.mkv"))


def test_a_run_killed_in_a_segment_goes_on_and_ends_with_the_same_frames(film, restored, tmp_path):
    output = tmp_path / "out.mkv"
    command = ["-m", "seedvr2.infer", "--input", str(film), "--output", str(output), "--codec", "ffv1", *SMALL]
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    work = tmp_path / ".out.mkv.work"
    deadline = time.monotonic() + 60
    while not list(work.glob("segment-000001.*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists()
    (work / ".segment-000009.0.part").write_text("half")
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    assert "frames are finished already" in done.stdout
    assert np.array_equal(frames(output), restored)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mkv", "out.mkv.json"]
    assert json.loads((tmp_path / "out.mkv.json").read_text())["shots"] == [0, 11]


def test_an_interrupt_finishes_the_segment_and_leaves_a_playable_part(film, restored, tmp_path, monkeypatch, capsys):
    output = tmp_path / "out.mkv"
    write = job.SegmentWriter.write

    def interrupted(self, picture, tick):
        if self._first == 6 and self.count == 2:
            os.kill(os.getpid(), signal.SIGINT)
        write(self, picture, tick)

    monkeypatch.setattr(job.SegmentWriter, "write", interrupted)
    with pytest.raises(SystemExit) as stopped:
        run("--input", film, "--output", output, "--codec", "ffv1", *SMALL)
    assert stopped.value.code == 130
    assert "stopped after 12 frames" in capsys.readouterr().out
    assert np.array_equal(frames(tmp_path / "out.partial.mkv"), restored[:12])
    assert not output.exists()
    monkeypatch.undo()
    run("--input", film, "--output", output, "--codec", "ffv1", *SMALL)
    assert np.array_equal(frames(output), restored)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mkv", "out.mkv.json"]


def test_an_unfinished_run_is_not_mixed_with_other_settings(film, tmp_path, monkeypatch, capsys):
    def fail(*arguments, **settings):
        raise UserError("the disk is full")

    monkeypatch.setattr(job, "assemble", fail)
    output = tmp_path / "out.mkv"
    with pytest.raises(SystemExit):
        run("--input", film, "--output", output, "--model", "identity")
    monkeypatch.undo()
    for other in (["--crf", "3"], ["--no-deinterlace"], ["--fps", "30"]):
        with pytest.raises(SystemExit):
            run("--input", film, "--output", output, "--model", "identity", *other)
        assert "an unfinished run" in capsys.readouterr().err
    run("--input", film, "--output", output, "--model", "identity", "--crf", "3", "--overwrite")
    assert len(frames(output)) == 20


def test_shots_are_found_given_or_left_out(film, tmp_path):
    found = {}
    for name, arguments in (("found", []), ("given", ["--cuts", "4,11"]), ("none", ["--no-shots"])):
        output = tmp_path / f"{name}.mkv"
        run("--input", film, "--output", output, "--model", "identity", *arguments)
        found[name] = json.loads((tmp_path / f"{name}.mkv.json").read_text())["shots"]
    assert found == {"found": [0, 11], "given": [0, 4, 11], "none": [0]}


def test_cuts_beyond_the_end_are_noted_however_many_there_are(film, tmp_path, capsys):
    cuts = ",".join(map(str, [4, *range(20, 200)]))
    run("--input", film, "--output", tmp_path / "out.mkv", "--model", "identity", "--cuts", cuts)
    assert "note: a cut at frame 20 lies beyond the 20 frames" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.mkv.json").read_text())["shots"] == [0, 4]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--cuts", "four"], "--cuts four is no list"),
        (["--cuts", "3", "--no-shots"], "exclude each other"),
        (["--cuts", "a,".join(["100"] * 100)], "is no list"),
        (["--fps", "1/0"], "1/0 is no rate"),
        (["--fps", "0"], "0 is no rate"),
        (["--fps", "0.00001"], "0.00001 is no rate"),
        (["--output", "."], "--output . has no name"),
        (["--input", ""], "--input '' is empty"),
        (["--segment", "0"], "--segment 0 makes no sense"),
        (["--codec", "prores"], ".mkv"),
        (["--depth", "9"], "9"),
    ],
)
def test_mistakes_are_one_sentence(film, tmp_path, capsys, arguments, match):
    with pytest.raises(SystemExit) as end:
        run("--input", film, "--output", tmp_path / "out.mp4", "--model", "identity", *arguments)
    assert end.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert match in lines[-1]
    assert list(tmp_path.iterdir()) == []


def test_deep_pictures_stay_deep(tmp_path):
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 1024, (5, 16, 24, 3)).astype(np.uint16)
    with av.open(str(tmp_path / "deep.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 24, "gbrp10le"
        for picture in deep:
            frame = av.VideoFrame(24, 16, "gbrp10le")
            for plane, channel in zip(frame.planes, (1, 2, 0), strict=True):
                rows = np.zeros((16, plane.line_size // 2), np.uint16)
                rows[:, :24] = picture[..., channel]
                plane.update(rows)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    source = tmp_path / "deep.mkv"
    run("--input", source, "--output", tmp_path / "out.mkv", "--model", "identity", "--codec", "ffv1", "--depth", "10")
    run("--input", source, "--output", tmp_path / "pictures", "--model", "identity")
    expected = np.rint(deep.astype(np.float64) * 65535 / 1023).astype(np.uint16)
    for path in (source, tmp_path / "out.mkv", tmp_path / "pictures"):
        assert np.array_equal(frames(path), expected)


def test_transparency_stays_with_the_picture(tmp_path):
    rgba = np.dstack([texture(1, 20, 30), texture(2, 20, 30)[..., 0]])
    from PIL import Image

    Image.fromarray(rgba).save(tmp_path / "in.png")
    run("--input", tmp_path / "in.png", "--model", "identity")
    run("--input", tmp_path / "in.png", "--model", "identity", "--scale", "2", "--output", tmp_path / "two.png")
    assert np.array_equal(np.array(Image.open(tmp_path / "in_restored.png")), rgba)
    with Image.open(tmp_path / "two.png") as large:
        assert (large.mode, large.size) == ("RGBA", (60, 40))


def test_folders_of_frames_become_folders_or_films(tmp_path):
    clip = pan(3, 7, height=32, width=48)
    (tmp_path / "frames").mkdir()
    for number, picture in enumerate(clip):
        write_image(tmp_path / "frames" / f"{number + 8}.png", picture)
    run("--input", tmp_path / "frames", "--model", "identity")
    assert np.array_equal(frames(tmp_path / "frames_restored"), np.stack(clip))
    film = ["--output", tmp_path / "f.mkv", "--codec", "ffv1", "--fps", "12"]
    run("--input", tmp_path / "frames", "--model", "identity", *film)
    assert np.array_equal(frames(tmp_path / "f.mkv"), np.stack(clip))
    assert stamps(tmp_path / "f.mkv")[1] == pytest.approx(1 / 12, abs=1e-3)


def test_a_bad_file_does_not_stop_the_others_and_the_tree_is_mirrored(tmp_path, capsys):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    write_clip(tmp_path / "in" / "a.mp4", pan(1, 5, height=32, width=48))
    write_image(tmp_path / "in" / "deep" / "b.png", texture(2, 20, 30))
    (tmp_path / "in" / "c.mp4").write_text("no film")
    with pytest.raises(SystemExit) as end:
        run("--input", tmp_path / "in", "--output", tmp_path / "out", "--model", "identity")
    assert end.value.code == 3
    told = capsys.readouterr()
    assert "2 of 3 inputs restored" in told.out
    assert "c.mp4 cannot be read" in told.err
    made = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert made == {"a.mp4", "a.mp4.json", "deep/b.png", "deep/b.png.json"}


@pytest.mark.parametrize(
    "mistake",
    [("--model", "nonsense"), ("--max-memory", "much"), ("--offload", "-2"), ("--segment", "0"), ("--steps", "4")],
)
def test_a_mistake_that_all_inputs_share_is_told_once(tmp_path, capsys, mistake):
    (tmp_path / "in").mkdir()
    for number in range(2):
        write_image(tmp_path / "in" / f"{number}.png", texture(number, 16, 16))
    with pytest.raises(SystemExit) as end:
        run("--input", tmp_path / "in" / "*.png", "--output", tmp_path / "out", *mistake)
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert os.listdir(tmp_path) == ["in"]


def test_pictures_of_one_size_are_planned_once(tmp_path, monkeypatch, capsys):
    traced = []

    def trace(networks, film, *arguments, **settings):
        traced.append((networks, film))
        return trace_run(networks, film, *arguments, **settings)

    monkeypatch.setattr(choose, "trace_run", trace)
    for number in range(3):
        write_image(tmp_path / f"{number}.png", texture(number, 16, 24 - 8 * (number == 2)))
    run("--input", tmp_path / "*.png", "--plan", "--scale", "1", "--model", "tiny", "--seed", "77")
    assert capsys.readouterr().out.count("at most") == 3
    assert [film.source.width for _, film in traced] == [24, 16]
    assert traced[0][0] is traced[1][0]


def test_a_plan_leaves_nothing_and_minds_no_output(tmp_path, capsys):
    for name in "ab":
        write_image(tmp_path / f"{name}.png", texture(0, 16, 16))
    run("--input", tmp_path / "*.png", "--output", tmp_path / "out", "--plan", "--model", "tiny")
    run("--input", tmp_path / "a.png", "--output", tmp_path / "b.png", "--plan", "--model", "tiny")
    said = capsys.readouterr().out
    assert said.count("at most") == said.count("tiny in bfloat16, 16x16 to 64x64") == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_programs_get_events_and_quiet_says_nothing(film, tmp_path, capsys):
    run("--input", film, "--output", tmp_path / "a.mkv", "--model", "identity", "--json")
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0]["event"] == "start"
    assert events[-1]["event"] == "wrote"
    progress = [event for event in events if event["event"] == "progress"]
    assert progress[-1]["frames"] == 20
    run("--input", film, "--output", tmp_path / "b.mkv", "--model", "identity", "--quiet")
    told = capsys.readouterr()
    assert told.out == told.err == ""


def test_the_sidecar_tells_how_it_was_made(film, tmp_path):
    run("--input", film, "--output", tmp_path / "a.mkv", "--seed", "3", *SMALL)
    account = json.loads((tmp_path / "a.mkv.json").read_text())
    assert account["model"]["seed"] == 3
    assert len(account["model"]["hash"]) > 16
    assert account["frames"] == 20
    assert {"read", "write", "assemble", "encode", "generate", "decode", "all"} <= account["seconds"].keys()
    assert {"seedvr2", "torch", "av"} <= account["versions"].keys()


def test_odd_sizes_keep_every_pixel(tmp_path):
    write_clip(tmp_path / "odd.mkv", pan(1, 4, height=31, width=45), codec="ffv1", pixels="bgr0")
    run("--input", tmp_path / "odd.mkv", "--output", tmp_path / "out.mp4", "--model", "identity")
    assert frames(tmp_path / "out.mp4").shape == (4, 31, 45, 3)


def test_image_outputs_are_images(tmp_path):
    write_image(tmp_path / "a.png", texture(5, 16, 16))
    run("--input", tmp_path / "a.png", "--output", tmp_path / "b.jpg", "--model", "identity")
    assert read_image(tmp_path / "b.jpg").shape == (16, 16, 3)
