"""Many inputs, and the same command again: nothing is restored twice, written over, or asked for in vain."""

import os
import shutil

import pytest
from PIL import Image

from seedvr2.errors import UserError
from seedvr2.restore import job, work
from seedvr2.restore.outputs import pairs
from tests.data.clips import pan, write_clip
from tests.test_infer_films import frames, run

IDENTITY = ("--model", "identity")


@pytest.fixture
def films(tmp_path):
    """A folder of two films of 5 and 7 frames."""
    folder = tmp_path / "films"
    folder.mkdir()
    for name, count in {"a.mkv": 5, "b.mkv": 7}.items():
        write_clip(folder / name, pan(count, count, height=16, width=16), codec="ffv1", pixels="bgr0")
    return folder


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.name.startswith("."))


@pytest.mark.parametrize("output", [[], ["--output", "films/out"]])
def test_the_same_command_again_keeps_what_is_done(films, tmp_path, monkeypatch, capsys, output):
    monkeypatch.chdir(tmp_path)
    run("--input", "films", *output, "--compare", *IDENTITY)
    before = {name: (films / name).stat().st_mtime_ns for name in names(films)}
    assert len(before) >= 8
    run("--input", "films", *output, "--compare", *IDENTITY)
    assert {name: (films / name).stat().st_mtime_ns for name in names(films)} == before
    assert "2 of 2 inputs restored" in capsys.readouterr().out
    victim = next(path for path in films.rglob("b*.mp4") if "compare" not in path.name)
    for path in (victim, victim.with_name(f"{victim.stem}_compare.mp4"), victim.with_name(f"{victim.name}.json")):
        path.unlink()
    run("--input", "films", *output, "--compare", *IDENTITY)
    assert len(frames(victim)) == 7
    assert sorted(before) == names(films)


def test_an_output_is_an_input_if_it_is_named_or_alone(films, tmp_path):
    run("--input", films / "a.mkv", "--scale", "1", *IDENTITY)
    run("--input", films / "a_restored.mp4", "--scale", "1", *IDENTITY)
    assert len(frames(films / "a_restored_restored.mp4")) == 5
    run("--input", films / "a.mkv", films / "b.mkv", "--output", tmp_path / "first", "--scale", "1", *IDENTITY)
    assert [pair.source.name for pair in pairs([str(tmp_path / "first")], tmp_path / "second")] == ["a.mp4", "b.mp4"]
    (films / "c_restored.mp4").write_bytes((films / "a_restored.mp4").read_bytes())
    found = [pair.source.name for pair in pairs([str(films)], tmp_path / "second")]
    assert found == ["a.mkv", "b.mkv", "c_restored.mp4"]


@pytest.mark.parametrize("change", [["--scale", "2"], ["--compare"], ["--no-deinterlace"], ["--model", "tiny"], []])
def test_what_was_made_otherwise_is_in_the_way(films, tmp_path, capsys, change):
    command = ["--input", films, "--output", tmp_path / "out", "--scale", "1", *IDENTITY]
    run(*command)
    if not change:
        write_clip(films / "a.mkv", pan(9, 5), codec="ffv1", pixels="bgr0")
    with pytest.raises(SystemExit) as end:
        run(*command, *change)
    assert end.value.code == 3
    assert "exists; give another --output" in capsys.readouterr().err


@pytest.mark.parametrize("output", [[], ["--output", "out"]])
def test_two_inputs_never_become_one_output(films, tmp_path, monkeypatch, capsys, output):
    monkeypatch.chdir(tmp_path)
    shutil.copy(films / "b.mkv", films / "a.mov")
    with pytest.raises(SystemExit):
        run("--input", "films", *output, "--overwrite", *IDENTITY)
    assert "would both become" in capsys.readouterr().err
    (films / "a.mov").rename(films / "a.png")
    assert len(pairs(["films"], None)) == 3
    for name in ("take.1", "take.2"):
        (films / name).mkdir()
        for number in range(2):
            (films / name / f"{number}.png").touch()
    assert len(pairs(["films"], None)) == 5
    for ending in ("gif", "mp4"):
        shutil.copy(films / "b.mkv", films / f"take.1.{ending}")
    still = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    still[0].save(films / "take.1.gif", save_all=True, append_images=still[1:])
    with pytest.raises(UserError, match="would both become"):
        pairs(["films"], None)
    (films / "take.1.gif").unlink()
    with pytest.raises(UserError, match="would both become"):
        pairs(["films"], None, container=".mp4")
    assert len(pairs(["films"], None)) == 6


@pytest.mark.parametrize("moment", ["assemble", "write_sidecar"])
def test_killed_while_outputs_are_put_in_place_the_same_command_goes_on(films, monkeypatch, moment):
    command = ["--input", films / "a.mkv", "--output", films / "out.mkv", "--codec", "ffv1", "--scale", "1"]
    module = job if moment == "assemble" else work
    usual, calls = getattr(module, moment), []

    def killed(*arguments, **named):
        calls.append(arguments)
        if len(calls) == (2 if moment == "assemble" else 1):
            raise KeyboardInterrupt
        return usual(*arguments, **named)

    monkeypatch.setattr(module, moment, killed)
    with pytest.raises(SystemExit) as end:
        run(*command, "--compare", *IDENTITY)
    assert end.value.code == 130
    assert (films / "out.mkv").exists()
    monkeypatch.undo()
    run(*command, "--compare", *IDENTITY)
    assert (frames(films / "out.mkv") == frames(films / "a.mkv")).all()
    assert frames(films / "out_compare.mkv").shape == (5, 16, 32, 3)
    assert not list(films.glob(".*"))


def test_a_folder_with_other_things_is_refused_before_the_work(films, capsys):
    (films / "out").mkdir()
    (films / "out" / "notes.txt").touch()
    with pytest.raises(SystemExit):
        run("--input", films / "a.mkv", "--output", films / "out", "--overwrite", *IDENTITY)
    told = capsys.readouterr()
    assert "holds notes.txt beside pictures" in told.err
    assert "frames/s" not in told.out
    assert names(films / "out") == ["notes.txt"]


def test_a_folder_that_may_not_be_read_is_left_out_and_named(films, monkeypatch, caplog):
    (films / "closed").mkdir()
    usual = type(films).iterdir

    def iterdir(path):
        if path.name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return usual(path)

    monkeypatch.setattr(type(films), "iterdir", iterdir)
    assert len(pairs([str(films)], None)) == 2
    assert "closed cannot be listed" in caplog.text


def test_names_need_not_be_text(films, capsys):
    name = os.fsdecode(b"caf\xe9.mkv")
    shutil.copy(films / "a.mkv", films / name)
    run("--input", films / name, "--scale", "1", *IDENTITY)
    assert (films / os.fsdecode(b"caf\xe9_restored.mp4.json")).is_file()
