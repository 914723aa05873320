"""The journal survives a kill at any byte and has one writer."""

import os
import resource
import subprocess
import sys

import pytest

from seedvr2.data.indexing.journal import VERSION, Journal, Stamp
from seedvr2.data.indexing.probe import Facts, Shot
from seedvr2.data.indexing.scores import Scores
from seedvr2.errors import UserError

SCORES = Scores(1.5, 0.25, 0.5, 40.0, (1, 2, 3, 4))
ENTRIES = [
    ("a.mp4", Stamp(10, 1), Facts("aa", 10, codec="h264", fps=23.976, shots=(Shot(0, 9, 64, 48, 3, SCORES),))),
    ("new\nline ünï.mp4", Stamp(11, 2), Facts("bb", 11, shots=tuple(Shot(n, 5, 64, 48, None, SCORES) for n in (0, 5)))),
    ("latin_\udce9.mp4", Stamp(12, 3), Facts("", 0, problem="unreadable", detail="no")),
]


def filled(path, entries=ENTRIES):
    with Journal(path) as journal:
        for entry in entries:
            journal.add(*entry)
    return path


def test_facts_come_back_as_they_were(tmp_path):
    with Journal(filled(tmp_path / "j")) as journal:
        for name, stamp, facts in ENTRIES:
            assert (name, stamp) in journal
            assert journal.facts(name) == facts


def test_changed_and_unknown_files_are_not_in_it(tmp_path):
    with Journal(filled(tmp_path / "j")) as journal:
        assert ("a.mp4", Stamp(10, 2)) not in journal
        assert ("a.mp4", Stamp(9, 1)) not in journal
        assert ("b.mp4", Stamp(10, 1)) not in journal
        journal.add("a.mp4", Stamp(10, 2), ENTRIES[1][2])
        assert journal.facts("a.mp4") == ENTRIES[1][2]
    with Journal(tmp_path / "j") as journal:
        assert journal.facts("a.mp4") == ENTRIES[1][2]


def test_a_kill_at_any_byte_costs_the_unfinished_line_only(tmp_path):
    content = filled(tmp_path / "whole").read_bytes()
    ends = [place + 1 for place, byte in enumerate(content) if byte == 10]
    assert len(ends) == len(ENTRIES) + 1
    path = tmp_path / "j"
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        with Journal(path) as journal:
            kept = [(name, stamp) in journal for name, stamp, _ in ENTRIES]
            assert sum(kept) == max(0, sum(end <= length for end in ends) - 1)
            for (name, stamp, facts), is_kept in zip(ENTRIES, kept, strict=True):
                if not is_kept:
                    journal.add(name, stamp, facts)
        assert path.read_bytes() == content


def test_a_journal_of_another_version_begins_anew(tmp_path):
    path = filled(tmp_path / "j")
    path.write_bytes(path.read_bytes().replace(b'"version": %d' % VERSION, b'"version": 0', 1))
    with Journal(path) as journal:
        assert ENTRIES[0][:2] not in journal


def test_damaged_files_can_be_forgotten(tmp_path):
    with Journal(filled(tmp_path / "j")) as journal:
        journal.forget_damaged()
        assert [(name, stamp) in journal for name, stamp, _ in ENTRIES] == [True, True, False]


def test_there_is_one_writer(tmp_path):
    with Journal(tmp_path / "j"), pytest.raises(UserError, match="being written by another run"):
        Journal(tmp_path / "j")
    with Journal(tmp_path / "j"):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        Journal(tmp_path / "file" / "j")


def test_a_full_disk_is_one_sentence_and_the_journal_stays_whole(tmp_path):
    path = filled(tmp_path / "j", ENTRIES[:1])
    room = path.stat().st_size + 50
    with Journal(path) as journal:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            with pytest.raises(UserError, match="cannot be written"):
                journal.add(*ENTRIES[1])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.stat().st_size == room  # half a line
    with Journal(path) as journal:
        assert [(name, stamp) in journal for name, stamp, _ in ENTRIES] == [True, False, False]


def test_stamps_tell_changes(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"one")
    first = Stamp.of(path)
    os.utime(path, ns=(0, first.modified + 1))
    touched = Stamp.of(path)
    path.write_bytes(b"longer")
    assert len({first, touched, Stamp.of(path), Stamp.of(tmp_path / "absent")}) == 4
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"1")
    before = Stamp.of(folder)
    (folder / "2.png").write_bytes(b"2")
    assert Stamp.of(folder).size == before.size + 1


def test_a_killed_writer_leaves_what_it_added(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from seedvr2.data.indexing.journal import Journal, Stamp\n"
        "from seedvr2.data.indexing.probe import Facts\n"
        "journal = Journal(Path(sys.argv[1])); journal.add('a', Stamp(1, 2), Facts('x', 1))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "j")], check=False)
    assert done.returncode == -9
    with Journal(tmp_path / "j") as journal:
        assert ("a", Stamp(1, 2)) in journal
