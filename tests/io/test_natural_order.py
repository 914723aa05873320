"""Properties of natural order and of what counts as a folder of frames."""

from seedvr2.io.natural_order import is_visible, natural_key, numbered_frames


def make(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_numbers_are_compared_as_numbers():
    names = ["b", "a10", "a2", "a1b3", "a1b20", "1", "a01", "A3"]
    assert sorted(names, key=natural_key) == ["1", "a01", "a1b3", "a1b20", "a2", "A3", "a10", "b"]


def test_frames_are_found_in_their_order(tmp_path):
    folder = make(tmp_path / "a", *(f"{number}.jpg" for number in range(1, 12)), ".DS_Store", "notes.txt", ".12.jpg")
    assert [path.name for path in numbered_frames(folder)] == [f"{number}.jpg" for number in range(1, 12)]
    folder = make(tmp_path / "b", "shot2_0010_v1.exr", "shot2_0002_v1.exr")
    assert [path.name for path in numbered_frames(folder)] == ["shot2_0002_v1.exr", "shot2_0010_v1.exr"]


def test_other_pictures_are_no_frames(tmp_path):
    for number, names in enumerate(
        [
            ["1.png"],
            ["cat.png", "dog.png"],
            ["a1.png", "b2.png"],
            ["1.png", "2.jpg"],
            ["1.png", "01.png"],
            ["1.png", "2.png", "cover.png"],
            ["1.mp4", "2.mp4"],
            [],
        ]
    ):
        assert numbered_frames(make(tmp_path / str(number), *names)) == [], names


def test_hidden_names_begin_with_a_dot(tmp_path):
    assert not is_visible(tmp_path / ".a")
    assert is_visible(tmp_path / "a")
