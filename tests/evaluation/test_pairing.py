import pytest

from seedvr2.errors import UserError
from seedvr2.evaluation.benchmark import find_entries
from seedvr2.evaluation.pairing import match
from tests.evaluation.miniatures import moving, reduced_by_4, small, write_folder, write_video

CLIPS = ("000", "001", "002")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A set of three clips: (bench, entries)."""
    root = tmp_path_factory.mktemp("set")
    for seed, name in enumerate(CLIPS):
        write_folder(root / "GT" / name, moving(seed))
        write_folder(root / "LQ" / name, reduced_by_4(moving(seed)))
    bench = small("spmcs")
    return bench, find_entries(bench, root).entries


def outputs(folder, names=CLIPS, **kind):
    for seed, name in enumerate(names):
        write_folder(folder / name, moving(seed), **kind)
    return folder


def matched(data, folder, **options):
    bench, entries = data
    return match(entries, folder, bench=bench, **options)


def test_complete_outputs_match_in_any_order_and_kind(data, tmp_path):
    write_video(tmp_path / "002.mkv", moving(2))
    write_folder(tmp_path / "001", moving(1))
    write_video(tmp_path / "000.mkv", moving(0))
    paths, problems, notes = matched(data, tmp_path)
    assert (problems, notes) == ([], [])
    assert paths == {"000": tmp_path / "000.mkv", "001": tmp_path / "001", "002": tmp_path / "002.mkv"}
    bench, entries = data
    assert match(entries[::-1], tmp_path, bench=bench).paths == paths


def test_folders_of_clips_may_hold_frames_of_other_names(data, tmp_path):
    for folder in outputs(tmp_path).iterdir():
        for number, file in enumerate(sorted(folder.iterdir())):
            file.rename(file.with_name(f"{number:08}_out{file.suffix}"))
    paths, problems, _ = matched(data, tmp_path)
    assert problems == []
    assert paths == {name: tmp_path / name for name in CLIPS}


def test_missing_and_extra_clips_are_problems(data, tmp_path):
    paths, problems, _ = matched(data, outputs(tmp_path, ("000", "002", "thumbnail")))
    assert list(paths) == ["000", "002"]
    assert problems == ["missing clips: 001", "clips that are not part of spmcs: thumbnail"]


def test_names_that_are_off_by_one_are_not_mended_but_noticed(data, tmp_path):
    _, problems, _ = matched(data, outputs(tmp_path, ("001", "002", "003")))
    assert problems[:2] == ["missing clips: 000", "clips that are not part of spmcs: 003"]
    assert "shifted by 1" in problems[2]


def test_decorated_names_are_not_guessed(data, tmp_path):
    paths, problems, _ = matched(data, outputs(tmp_path, ("000_out", "001_out", "002_out")))
    assert paths == {}
    assert len(problems) == 2


def test_wrong_lengths_and_sizes_are_problems_of_their_clip_alone(data, tmp_path):
    write_folder(tmp_path / "000", moving(0)[1:])
    write_folder(tmp_path / "001", [frame[:, :-1] for frame in moving(1)])
    write_folder(tmp_path / "002", moving(2))
    paths, problems, _ = matched(data, tmp_path)
    assert list(paths) == ["002"]
    assert problems == ["000 has 3 frames instead of 4", "001 is 127x64 instead of 128x64"]


def test_the_size_of_the_protocol_counts(data, tmp_path):
    outputs(tmp_path / "aligned")
    assert matched(data, tmp_path / "aligned").problems == []
    assert len(matched(data, tmp_path / "aligned", protocol="official_crop").problems) == 3


def test_an_output_that_cannot_be_read_is_a_problem(data, tmp_path):
    outputs(tmp_path, ("000", "001"))
    (tmp_path / "002.mp4").write_bytes(b"no video")
    paths, problems, _ = matched(data, tmp_path)
    assert list(paths) == ["000", "001"]
    assert len(problems) == 1
    assert problems[0].startswith("002 cannot be used")


def test_lossy_video_and_other_numbers_of_frames_are_allowed_with_a_note(data, tmp_path):
    write_video(tmp_path / "000.mp4", moving(0), is_lossless=False)
    write_folder(tmp_path / "001", moving(1), first=1)
    write_folder(tmp_path / "002", moving(2))
    paths, problems, notes = matched(data, tmp_path)
    assert (list(paths), problems) == (list(CLIPS), [])
    assert len(notes) == 2
    assert "yuv420p" in notes[0]
    assert "numbered from 1, those of the set from 0" in notes[1]


def test_a_folder_with_clips_is_needed(data, tmp_path):
    with pytest.raises(UserError, match="absent is not a folder"):
        matched(data, tmp_path / "absent")
    with pytest.raises(UserError, match="holds no video"):
        matched(data, tmp_path)
