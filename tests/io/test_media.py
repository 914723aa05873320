"""Properties of inputs as a whole: what is found, what is refused, one use."""

import av
import numpy as np
import pytest
from PIL import Image

from seedvr2.errors import UserError
from seedvr2.io.media import find_media, open_media


@pytest.fixture
def tree(tmp_path):
    for name in (
        "b10.png",
        "b9.jpg",
        "note.txt",
        ".hidden.png",
        "shots/1.png",
        "shots/2.png",
        "shots/10.png",
        "c/d/e.mp4",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".jpg"):
            Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
        else:
            path.write_text("text")
    return tmp_path


def names(found, root):
    return [str(path.relative_to(root)) for path in found]


def test_folders_are_searched_and_frames_stay_together(tree):
    assert names(find_media(tree), tree) == ["b9.jpg", "b10.png", "c/d/e.mp4", "shots"]
    assert find_media(tree / "shots") == [tree / "shots"]
    assert names(find_media(str(tree / "shots")), tree) == ["shots"]


def test_what_lies_beside_frames_is_found_too(tree):
    (tree / "shots" / "take.mp4").touch()
    (tree / "shots" / "more").mkdir()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tree / "shots" / "more" / "a.png")
    assert names(find_media(tree / "shots"), tree) == ["shots", "shots/more/a.png", "shots/take.mp4"]


def test_patterns_name_files_and_folders(tree):
    assert names(find_media(tree / "*.*g"), tree) == ["b9.jpg", "b10.png"]
    assert names(find_media(tree / "s*"), tree) == ["shots"]
    assert names(find_media(tree / "**" / "*.png"), tree) == ["b10.png", "shots/1.png", "shots/2.png", "shots/10.png"]


def test_a_file_is_itself_even_with_a_pattern_in_its_name(tree):
    strange = tree / "film [1]*.bin"
    strange.touch()
    assert find_media(strange) == [strange]
    assert find_media(tree / "note.txt") == [tree / "note.txt"]


@pytest.mark.parametrize("name", ["absent.mp4", "*.mkv", "empty", "*.txt"])
def test_finding_nothing_is_an_error(tree, name):
    (tree / "empty").mkdir()
    with pytest.raises(UserError, match="stands for no video"):
        find_media(tree / name)


def test_inputs_without_pictures_are_refused(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("text " * 100)
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    for name, message in [
        ("absent.mp4", "does not exist"),
        ("absent.png", "does not exist"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "cannot be read as a video"),
        ("sound.wav", "no video stream"),
    ]:
        with pytest.raises(UserError, match=message):
            open_media(tmp_path / name)


def test_pictures_are_read_once(tree):
    with open_media(tree / "b10.png") as media:
        assert len(list(media.pictures())) == 1
        with pytest.raises(AssertionError, match="already read"):
            next(media.pictures())
