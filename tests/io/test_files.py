"""Files are whole or absent."""

import pytest

from seedvr2.io.files import remove, whole


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_its_block_succeeds(tmp_path):
    with whole(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("done")
        assert not (tmp_path / "new" / "a.txt").exists()
        assert temporary.parent == tmp_path / "new"
    assert (tmp_path / "new" / "a.txt").read_text() == "done"
    assert names(tmp_path / "new") == ["a.txt"]


@pytest.mark.parametrize("is_folder", [False, True])
def test_nothing_half_written_is_left_behind(tmp_path, is_folder):
    target = tmp_path / "a"
    with whole(target) as temporary:
        temporary.mkdir() if is_folder else temporary.write_text("old")

    def fail():
        with whole(target) as temporary:
            if is_folder:
                temporary.mkdir()
            (temporary / "inside" if is_folder else temporary).write_text("half")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert names(tmp_path) == ["a"]
    assert list(target.iterdir()) == [] if is_folder else target.read_text() == "old"


def test_folders_replace_files_and_folders(tmp_path):
    for content in ("one", "two"):
        with whole(tmp_path / "final") as temporary:
            temporary.mkdir()
            (temporary / content).touch()
    assert names(tmp_path / "final") == ["two"]
    assert names(tmp_path) == ["final"]


def test_leftovers_of_a_killed_run_do_not_get_in(tmp_path):
    with whole(tmp_path / "final") as temporary:
        pass_on = temporary
        temporary.mkdir()
    pass_on.mkdir()
    (pass_on / "stale").touch()
    with whole(tmp_path / "final") as temporary:
        temporary.mkdir()
    assert names(tmp_path / "final") == []


def test_removing_what_is_not_there_is_fine(tmp_path):
    remove(tmp_path / "absent")
    (tmp_path / "a").touch()
    remove(tmp_path / "a")
    assert names(tmp_path) == []
