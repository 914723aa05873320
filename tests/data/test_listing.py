"""Properties of the listing of a folder."""

from pathlib import Path

import pytest

from seedvr2.data.listing import frame_files, list_folder
from seedvr2.errors import UserError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def relative(root, paths: tuple[Path, ...]):
    return [path.relative_to(root).as_posix() for path in paths]


def test_images_videos_and_frame_folders_are_told_apart(tmp_path):
    touch(tmp_path, "b.png", "a/x.JPG", "a/v.mp4", "seq/1.png", "seq/2.png", "seq/notes.txt", ".hidden/y.png", ".z.png")
    touch(tmp_path, "kodak/kodim01.png", "kodak/kodim02.png", "one/0001.png", "mixed/1.png", "mixed/2.jpg")
    images, clips = list_folder(tmp_path)
    assert relative(tmp_path, clips) == ["a/v.mp4", "seq"]
    assert relative(tmp_path, images) == [
        "a/x.JPG", "b.png", "kodak/kodim01.png", "kodak/kodim02.png", "mixed/1.png", "mixed/2.jpg", "one/0001.png"
    ]  # fmt: skip
    assert relative(tmp_path, list_folder(tmp_path, frame_folders=False).clips) == ["a/v.mp4"]


def test_frames_are_in_natural_order(tmp_path):
    touch(tmp_path, *(f"{number}.png" for number in (10, 9, 1, 2, 11)), ".DS_Store", "notes.txt")
    assert [file.stem for file in frame_files(tmp_path)] == ["1", "2", "9", "10", "11"]


def test_a_picture_without_a_number_among_frames_is_named(tmp_path):
    touch(tmp_path, "1.png", "2.png", "cover.png")
    with pytest.raises(UserError, match=r"cover\.png has no number"):
        frame_files(tmp_path)


def test_links_back_are_not_followed(tmp_path):
    touch(tmp_path / "data", "a.png", "sub/b.png")
    touch(tmp_path / "other", "c.png")
    (tmp_path / "data" / "sub" / "back").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "other").symlink_to(tmp_path / "other")
    images, _ = list_folder(tmp_path / "data")
    assert relative(tmp_path / "data", images) == ["a.png", "other/c.png", "sub/b.png"]


def test_patterns_select(tmp_path):
    touch(tmp_path, "clips/a.mp4", "clips/b.mp4", "images/c.png", "images/deep/d.png")
    images, clips = list_folder(tmp_path, allow=["clips/*", "images/*.png"], skip=["*/b.*"])
    assert relative(tmp_path, clips) == ["clips/a.mp4"]
    assert relative(tmp_path, images) == ["images/c.png", "images/deep/d.png"]


def test_useless_folders_are_named(tmp_path):
    touch(tmp_path, "notes.txt", "a/b.png")
    with pytest.raises(UserError, match="no image or video"):
        list_folder(tmp_path, skip=["a/*"])
    with pytest.raises(UserError, match="not a folder"):
        list_folder(tmp_path / "absent")
