"""Small facts in the user's cache folder."""

import errno
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from seedvr2.io import files
from seedvr2.io.cache import Kept, cache_folder


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """The cache folder of these tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "seedvr2"


def test_what_one_run_notes_the_next_one_knows():
    Kept("a.json").setdefault("x", "1")
    assert Kept("a.json") == {"x": "1"}
    assert Kept("b.json") == {}


def test_of_two_processes_the_first_decides():
    one, other = Kept("a.json"), Kept("a.json")
    assert one.setdefault("x", "1") == "1"
    assert other.setdefault("y", "2") == "2"
    assert other.setdefault("x", "3") == "1"
    assert one.setdefault("y", "4") == "2"
    assert Kept("a.json") == {"x": "1", "y": "2"}


def test_processes_that_note_at_once_lose_nothing():
    def note(number):
        kept = Kept("a.json")
        return [kept.setdefault(f"{at}", f"{number}") for at in range(20)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(note, range(4)))
    assert found[1:] == found[:-1]
    assert list(Kept("a.json").values()) == found[0]


def test_what_is_only_set_is_not_kept():
    kept = Kept("a.json")
    kept["x"] = "1"
    assert kept == {"x": "1"}
    assert Kept("a.json") == {}


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_a_damaged_file_is_an_empty_one(text, folder):
    folder.mkdir()
    (folder / "a.json").write_text(text)
    kept = Kept("a.json")
    assert kept == {}
    kept.setdefault("x", "1")
    assert Kept("a.json") == {"x": "1"}


def test_file_systems_without_locks_keep_them_too(monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSYS, "no locks here")

    monkeypatch.setattr(files, "fcntl", SimpleNamespace(flock=flock, LOCK_EX=2))
    Kept("a.json").setdefault("x", "1")
    assert Kept("a.json") == {"x": "1"}


def test_without_a_folder_facts_last_as_long_as_the_process(folder):
    folder.write_text("a file")
    kept = Kept("a.json")
    kept.setdefault("x", "1")
    assert kept == {"x": "1"}
    assert Kept("a.json") == {}
    assert cache_folder() == folder
