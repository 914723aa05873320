"""Nothing below the folder is left out silently."""

import errno
import os

import pytest

from seedvr2.data.indexing.files import find_files
from seedvr2.data.listing import list_folder
from seedvr2.errors import UserError

NAMES = ["a.png", "b/c.MP4", "b/notes.txt", "b/x.mp4/d.jpg", "seq/1.png", "seq/2.png", "seq/info.json", "sound.m4a"]


@pytest.fixture
def root(tmp_path):
    for name in [*NAMES, ".hidden.png", ".hidden/e.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_every_visible_file_is_listed_once_in_order(root):
    found = find_files(root)
    assert [(file.name, file.kind) for file in found] == [
        ("a.png", "image"), ("b/c.MP4", "video"), ("b/notes.txt", "foreign"), ("b/x.mp4/d.jpg", "image"),
        ("seq", "frames"), ("seq/info.json", "foreign"), ("sound.m4a", "foreign"),
    ]  # fmt: skip
    assert [file.name for file in found if file.is_media] == ["a.png", "b/c.MP4", "b/x.mp4/d.jpg", "seq"]
    assert [file.name for file in find_files(root, frame_folders=False)] == sorted(NAMES)


def test_media_are_those_of_the_training_folder(root):
    images, clips = list_folder(root)
    listed = sorted(path.relative_to(root).as_posix() for path in (*images, *clips))
    assert [file.name for file in find_files(root) if file.is_media] == listed


def test_links_are_followed_but_not_in_circles(root):
    (root / "b" / "up").symlink_to(root)
    (root / "again").symlink_to(root / "seq")
    (root / "self.mp4").symlink_to("self.mp4")
    found = {file.name: file for file in find_files(root)}
    assert found["again"].kind == "frames"
    assert found["self.mp4"].kind == "video"  # and the decoder will say that it is not there
    assert (found["b/up"].kind, found["b/up"].detail) == ("unreadable", "the link leads back to a folder above it")
    assert not any(name.startswith("b/up/") for name in found)


def test_closed_folders_are_listed(root, monkeypatch):
    scan = os.scandir

    def closed(folder):  # permissions do not stop root
        if folder == root / "b":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", closed)
    found = {file.name: file for file in find_files(root)}
    assert (found["b"].kind, found["b"].detail) == ("unreadable", "the folder cannot be listed (Permission denied)")
    assert found["a.png"].is_media


def test_names_can_be_left_out(root):
    assert "a.png" not in [file.name for file in find_files(root, without={"a.png"})]


def test_a_folder_of_frames_may_be_the_root(root):
    assert [file.name for file in find_files(root / "seq")] == [".", "info.json"]


def test_folders_without_media_are_named(root):
    (root / "empty").mkdir()
    for folder, message in [
        ("empty", "holds no image or video"),
        ("absent", "not a folder"),
        ("a.png", "not a folder"),
    ]:
        with pytest.raises(UserError, match=message):
            find_files(root / folder)
