"""Small facts in the user's cache folder."""

import pytest

from seedvr2.io.cache import Kept, cache_folder


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """The cache folder of these tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "seedvr2"


def test_what_one_run_notes_the_next_one_knows():
    Kept("a.json")["x"] = "1"
    assert Kept("a.json") == {"x": "1"}
    assert Kept("b.json") == {}


def test_what_two_processes_note_is_kept_together():
    one, other = Kept("a.json"), Kept("a.json")
    one["x"], other["y"] = "1", "2"
    assert other == Kept("a.json") == {"x": "1", "y": "2"}


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_a_damaged_file_is_an_empty_one(text, folder):
    folder.mkdir()
    (folder / "a.json").write_text(text)
    kept = Kept("a.json")
    assert kept == {}
    kept["x"] = "1"
    assert Kept("a.json") == {"x": "1"}


def test_without_a_folder_facts_last_as_long_as_the_process(folder):
    folder.write_text("a file")
    kept = Kept("a.json")
    kept["x"] = "1"
    assert kept == {"x": "1"}
    assert Kept("a.json") == {}
    assert cache_folder() == folder
