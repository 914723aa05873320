"""A journal knows what is finished, whenever it was killed, and refuses to mix two runs."""

import signal
import subprocess
import sys

import pytest

from seedvr2.errors import UserError
from seedvr2.restore.journal import Journal, hash_of, identity_of

KEY = {"seed": 0, "size": (4, 6)}


def test_finished_segments_are_known_again(tmp_path):
    output = tmp_path / "film.mp4"
    journal = Journal(output, KEY)
    for number in range(2):
        journal.path(f"{number}.a").write_text("frames")
        journal.add(f"{number}", 10 * number + 10, shots=[0, 7], state={"ticks": number})
    journal.leave()
    again = Journal(output, KEY)
    assert (again.segments, again.frames, again.shots, again.state) == (["0", "1"], 20, [0, 7], {"ticks": 1})
    assert again.path("1.a").read_text() == "frames"
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_left_behind_is_removed(tmp_path):
    journal = Journal(tmp_path / "film.mp4", KEY)
    journal.path("0.a").write_text("frames")
    journal.add("0", 10, shots=[0], state=None)
    journal.path("1.a").write_text("half")
    journal.path(".1.b.part").mkdir()
    journal.leave()
    again = Journal(tmp_path / "film.mp4", KEY)
    assert {path.name for path in again.folder.iterdir()} - {"lock"} == {"0.a", "journal.json"}


def test_other_settings_are_refused_unless_begun_anew(tmp_path):
    journal = Journal(tmp_path / "film.mp4", KEY)
    journal.path("0.a").write_text("frames")
    journal.add("0", 10, shots=[0], state=None)
    journal.leave()
    with pytest.raises(UserError, match="with another seed"):
        Journal(tmp_path / "film.mp4", {**KEY, "seed": 1})
    anew = Journal(tmp_path / "film.mp4", {**KEY, "seed": 1}, fresh=True)
    assert anew.frames == 0
    assert {path.name for path in anew.folder.iterdir()} <= {"lock"}


@pytest.mark.parametrize("fresh", [False, True])
def test_two_runs_do_not_write_one_output(tmp_path, fresh):
    first = Journal(tmp_path / "film.mp4", KEY)
    first.path("0.a").write_text("frames")
    first.add("0", 10, shots=[0], state=None)
    with pytest.raises(UserError, match=r"film\.mp4 is being written by another run"):
        Journal(tmp_path / "film.mp4", KEY, fresh=fresh)
    assert first.path("0.a").read_text() == "frames"
    Journal(tmp_path / "other.mp4", KEY).leave()
    first.leave()
    assert Journal(tmp_path / "film.mp4", KEY).frames == 10


def test_a_killed_run_holds_nothing(tmp_path):
    code = (
        "import os, signal; from pathlib import Path; from seedvr2.restore.journal import Journal;"
        f"journal = Journal(Path({str(tmp_path / 'film.mp4')!r}), {KEY!r});"
        "journal.add('0', 10, shots=[0], state=None); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert Journal(tmp_path / "film.mp4", KEY).frames == 10


def test_inputs_are_told_apart(tmp_path):
    for name, text in (("a", "one"), ("b", "two")):
        (tmp_path / name).write_text(text)
    assert identity_of(tmp_path / "a") == identity_of(tmp_path / "a") != identity_of(tmp_path / "b")
    assert hash_of(tmp_path / "a") == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    before = hash_of(tmp_path)
    (tmp_path / "b").rename(tmp_path / "c")
    assert hash_of(tmp_path) != before
