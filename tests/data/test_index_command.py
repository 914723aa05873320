"""The index command: the same index however often it is killed and however many workers there are."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from seedvr2.data import index as command
from seedvr2.data.index import main
from seedvr2.data.indexing.rows import Index
from tests.data.clips import pan, texture, with_bars, write_clip, write_sound
from tests.data.indexing.jobs import probe_or_die

SMALL = ["--min-side", "64", "--workers", "1"]


def make_data(root):
    """Eight clips in seven files that are usable, and one file per thing that is not."""
    (root / "deep").mkdir(parents=True)
    for seed in range(3):
        write_clip(root / f"clip{seed}.mp4", pan(seed, 8))
    write_clip(root / "deep" / "two shots.mkv", pan(3, 8) + pan(4, 9))
    for seed in range(2):
        Image.fromarray(texture(10 + seed)).save(root / "deep" / f"picture {'ab'[seed]}.png")
    (root / "frames").mkdir()
    for number, frame in enumerate(pan(5, 6)):
        Image.fromarray(frame).save(root / "frames" / f"{number:03}.png")
    (root / "copy.mp4").write_bytes((root / "clip0.mp4").read_bytes())
    write_clip(root / "short.mp4", pan(6, 3))
    write_clip(root / "static.mp4", [texture(7)] * 8)
    write_clip(root / "bars.mp4", with_bars(pan(8, 8), 12, 12, 0, 0))
    write_clip(root / "tiny.mp4", pan(9, 8, height=48))
    write_sound(root / "sound.mp4")
    (root / "empty.mp4").touch()
    (root / "notes.txt").write_text("hello")
    return root


USABLE = ["clip0.mp4", "clip1.mp4", "clip2.mp4", "deep/picture a.png", "deep/picture b.png",
          "deep/two shots.mkv", "deep/two shots.mkv", "frames"]  # fmt: skip
LEFT_OUT = {
    "bars.mp4": "letterboxed", "copy.mp4": "duplicate", "empty.mp4": "unreadable", "notes.txt": "foreign",
    "short.mp4": "short", "sound.mp4": "unreadable", "static.mp4": "static", "tiny.mp4": "tiny",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("indexed") / "data")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "index.parquet"
    main([str(data), "--output", str(output), *SMALL])
    return output


def tables(output):
    return output.read_bytes(), output.with_name("index.rejected.csv").read_bytes()


def rejected(output):
    with open(output.with_name("index.rejected.csv"), newline="", encoding="utf-8") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


def in_process(*arguments, room=None, **options):
    """The command in a process of its own, which can write files of `room` bytes at most."""

    def prepare():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # which is ignored where tests run in the background
        if room:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    line = [sys.executable, "-m", "seedvr2.data.index", *map(str, arguments), *SMALL]
    return subprocess.Popen(line, stderr=subprocess.PIPE, text=True, preexec_fn=prepare, **options)


def test_everything_is_in_the_index_or_rejected_with_its_reason(data, whole):
    index = Index(whole)
    assert [index[number].path for number in range(len(index))] == USABLE
    assert rejected(whole) == LEFT_OUT
    two = [clip for clip in map(index.__getitem__, range(len(index))) if clip.path == "deep/two shots.mkv"]
    assert [(clip.start, clip.frames) for clip in two] == [(0, 8), (8, 9)]
    assert {clip.id.rpartition("-")[0] for clip in two} == {two[0].id.rpartition("-")[0]}
    assert index.root == str(data)


def test_any_number_of_workers_makes_the_same_bytes(data, whole, tmp_path):
    output = tmp_path / "index.parquet"
    main([str(data), "--output", str(output), *SMALL[:2], "--workers", "3"])
    assert tables(output) == tables(whole)


def test_killed_and_resumed_equals_uninterrupted(data, whole, tmp_path):
    output, journal = tmp_path / "index.parquet", tmp_path / "index.journal.jsonl"
    kills = 0
    for wanted in (2, 6):
        with in_process(data, "--output", output) as process:
            while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < wanted):
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
        kills += process.returncode == -signal.SIGKILL
        assert not output.exists()
    assert kills == 2
    done = journal.read_bytes()
    main([str(data), "--output", str(output), *SMALL])
    assert tables(output) == tables(whole)
    assert journal.read_bytes().startswith(done[: done.rfind(b"\n") + 1])  # nothing was decoded twice


def test_an_interrupt_is_one_word_and_keeps_what_was_found(data, tmp_path):
    journal = tmp_path / "index.journal.jsonl"
    with in_process(data, "--output", tmp_path / "index.parquet", start_new_session=True) as process:
        while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 1):
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the workers too
        errors = process.stderr.read()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "seedvr2.data.index: interrupted"
    assert "Traceback" not in errors
    assert os.listdir(tmp_path) == [journal.name]


def test_odd_names_are_kept_or_named(tmp_path):
    data, output = tmp_path / "data", tmp_path / "index.parquet"
    data.mkdir()
    names = ["new\nline.png", 'quo"te, comma.png', "🎬 视频.png", "x" * 200 + ".png"]
    for seed, name in enumerate(names):
        Image.fromarray(texture(seed)).save(data / name)
    Image.fromarray(texture(9)).save(os.fsencode(data) + b"/latin_\xe9.png")
    main([str(data), "--output", str(output), *SMALL])
    index = Index(output)
    assert sorted(index[number].path for number in range(len(index))) == sorted(names)
    assert rejected(output) == {"latin_\\udce9.png": "unreadable"}


def test_only_new_and_changed_files_are_decoded_again(tmp_path):
    data, output = tmp_path / "data", tmp_path / "out" / "index.parquet"
    data.mkdir()
    for seed in range(3):
        write_clip(data / f"{seed}a.mp4", pan(seed, 6))
    journal = output.with_name("index.journal.jsonl")

    def decoded():
        before = journal.read_bytes() if journal.exists() else b""
        main([str(data), "--output", str(output), *SMALL])
        after = journal.read_bytes()
        assert after.startswith(before)
        lines = after[len(before) :].decode().splitlines()
        return sorted(json.loads(line)[0] for line in lines if line.startswith("["))

    assert decoded() == ["0a.mp4", "1a.mp4", "2a.mp4"]
    assert decoded() == []
    write_clip(data / "1a.mp4", pan(7, 9))
    write_clip(data / "3a.mp4", pan(8, 6))
    assert decoded() == ["1a.mp4", "3a.mp4"]
    assert Index(output)[1].frames == 9
    (data / "0a.mp4").unlink()
    assert decoded() == []
    assert len(Index(output)) == 3


def test_limits_change_without_decoding(data, whole, tmp_path, monkeypatch):
    output = tmp_path / "index.parquet"
    (tmp_path / "index.journal.jsonl").write_bytes(whole.with_name("index.journal.jsonl").read_bytes())
    monkeypatch.setattr(command, "probe", None)
    main([str(data), "--output", str(output), *SMALL, "--min-frames", "9", "--keep", "letterboxed", "static", "tiny"])
    assert {path for path, reason in rejected(output).items() if reason == "short"} == {
        "clip0.mp4", "clip1.mp4", "clip2.mp4", "deep/two shots.mkv", "frames", "bars.mp4", "static.mp4", "tiny.mp4",
        "short.mp4",
    }  # fmt: skip
    assert len(Index(output)) == 3


def test_a_crashing_or_hanging_decoder_costs_one_file(tmp_path, monkeypatch):
    data, output = tmp_path / "data", tmp_path / "index.parquet"
    data.mkdir()
    for seed, name in enumerate(["crash", "good", "hang", "other"]):
        write_clip(data / f"{name}.mp4", pan(seed, 6))
    monkeypatch.setattr(command, "probe", probe_or_die)
    main([str(data), "--output", str(output), "--min-side", "64", "--workers", "2", "--timeout", "3"])
    assert rejected(output) == {"crash.mp4": "crashed", "hang.mp4": "stuck"}
    monkeypatch.undo()
    main([str(data), "--output", str(output), *SMALL])
    assert len(Index(output)) == 2  # they are not tried again by themselves
    main([str(data), "--output", str(output), *SMALL, "--retry"])
    assert len(Index(output)) == 4


def test_metadata_reach_the_index(data, tmp_path):
    output, table = tmp_path / "index.parquet", tmp_path / "m.csv"
    table.write_text("path,licence,tags,caption\nclip1.mp4,MIT,a;b,notes.txt\n")
    main([str(data), "--output", str(output), *SMALL, "--metadata", str(table)])
    clip = Index(output)[1]
    assert (clip.licence, clip.tags, clip.caption) == ("MIT", ["a", "b"], "notes.txt")
    assert "notes.txt" not in rejected(output)


@pytest.mark.parametrize("row", ["absent.mp4,MIT,,", "clip1.mp4,MIT,,absent.pt"])
def test_metadata_of_absent_files_are_named(data, tmp_path, capsys, row):
    (tmp_path / "m.csv").write_text(f"path,licence,tags,caption\n{row}\n")
    with pytest.raises(SystemExit):
        main([str(data), "--output", str(tmp_path / "i.parquet"), *SMALL, "--metadata", str(tmp_path / "m.csv")])
    assert "absent" in capsys.readouterr().err
    assert not (tmp_path / "i.parquet").exists()


def test_an_index_inside_its_own_folder_does_not_list_itself(tmp_path):
    write_clip(tmp_path / "a.mp4", pan(0, 6))
    for _ in range(2):
        main([str(tmp_path), "--output", str(tmp_path / "index.parquet"), *SMALL])
        assert rejected(tmp_path / "index.parquet") == {}


@pytest.mark.parametrize("full", ["journal", "table"])
def test_a_full_disk_is_one_sentence_and_leaves_no_half(data, whole, tmp_path, full):
    journal = tmp_path / "index.journal.jsonl"
    if full == "table":
        journal.write_bytes(whole.with_name(journal.name).read_bytes())
    with in_process(data, "--output", tmp_path / "index.parquet", room=2000 if full == "table" else 500) as process:
        errors = process.stderr.read()
    assert process.returncode == 2
    complaints = [line for line in errors.splitlines() if " files/s" not in line]
    assert len(complaints) == 1
    assert complaints[0].startswith("seedvr2.data.index: ")
    assert "cannot be written" in complaints[0]
    assert complaints[0].endswith("; free space or choose another --output")
    assert os.listdir(tmp_path) == [journal.name]
    main([str(data), "--output", str(tmp_path / "index.parquet"), *SMALL])  # with room again
    assert tables(tmp_path / "index.parquet") == tables(whole)


def test_mistakes_are_one_sentence(data, tmp_path, capsys):
    (tmp_path / "file").touch()
    cases = [
        ([data, "--output", tmp_path / "index.csv"], "ends in .parquet"),
        ([data, "--output", tmp_path / "file" / "index.parquet"], "cannot be written"),
        ([tmp_path / "absent", "--output", tmp_path / "index.parquet"], "not a folder"),
        ([data, "--output", tmp_path / "index.parquet", "--workers", "0"], "--workers is 0"),
        ([data, "--output", tmp_path / "index.parquet", "--keep", "corrupt"], "'corrupt' is no reason"),
        ([data], "--output"),
    ]
    for arguments, message in cases:
        with pytest.raises(SystemExit) as caught:
            main(list(map(str, arguments)))
        errors = capsys.readouterr().err
        assert (caught.value.code, errors.count("\n")) == (2, 1)
        assert message in errors
    assert os.listdir(tmp_path) == ["file"]
