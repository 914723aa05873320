import pytest

from seedvr2.errors import UserError
from seedvr2.evaluation.benchmark import find_entries
from seedvr2.evaluation.layouts import Layout, descend, locate, pair_folders
from tests.evaluation.miniatures import moving, reduced_by_4, small, write_folder, write_video

CLIPS = ("000", "001", "002")
# set, where its GT and its LQ lie below ROOT ({} is the clip), the option lq that takes this LQ
DISTRIBUTED = [
    ("spmcs", "spmcs/GT/{}", "spmcs/LQ/{}", "either"),
    ("spmcs", "GT/{}", "LQ/{}", "either"),
    ("spmcs", "SPMCS/gt/{}", "SPMCS/lq/{}", "either"),
    ("youhq40", "YouHQ40/GT-Video/{}.mkv", "YouHQ40/LQ-Video/{}.mkv", "either"),
    ("spmcs", "spmcs/{}/truth", "spmcs/{}/input4", "given"),
    ("udm10", "{}/truth", "{}/blur4", "given"),
    ("udm10", "udm10/GT/{}", "udm10/BDx4/{}", "given"),
    ("udm10", "udm10/GT/{}", "udm10/BIx4/{}", "given"),
    ("reds30", "REDS/val_sharp/{}", "REDS/val_sharp_bicubic/X4/{}", "given"),
    ("reds30", "REDS/val/val_sharp/{}", "REDS/val/val_sharp_bicubic/X4/{}", "given"),
    ("videolq", None, "VideoLQ/Input/{}", "given"),
    ("videolq", None, "videolq/LQ/{}", "given"),
    ("aigc28", None, "aigc28/LQ/{}.mkv", "given"),
]


def write_set(root, gt, lq, clips=CLIPS):
    """Every clip of a set; returns (gt, lq) paths by name."""
    paths = {"gt": {}, "lq": {}}
    for seed, name in enumerate(clips):
        clip = moving(seed)
        for side, pattern, frames in (("gt", gt, clip), ("lq", lq, reduced_by_4(clip))):
            if pattern is not None:
                path = root / pattern.format(name)
                paths[side][name] = path
                write_video(path, frames) if path.suffix else write_folder(path, frames)
    return paths["gt"], paths["lq"]


@pytest.mark.parametrize(("name", "gt", "lq", "option"), DISTRIBUTED)
def test_every_distributed_layout_is_found(tmp_path, name, gt, lq, option):
    wanted_gt, wanted_lq = write_set(tmp_path, gt, lq)
    entries, problems = find_entries(small(name, lq=option), tmp_path)
    assert problems == []
    assert [entry.name for entry in entries] == list(CLIPS)
    for entry in entries:
        assert (entry.gt, entry.lq) == (wanted_gt.get(entry.name), wanted_lq[entry.name])
        assert (entry.frames, entry.lq_size, entry.gt_size) == (4, (16, 32), (64, 128) if gt else None)


def test_the_reductions_of_old_benchmarks_are_no_lq_unless_asked_for(tmp_path):
    write_set(tmp_path, "spmcs/{}/truth", "spmcs/{}/input4")
    for option in ("either", "frozen"):
        assert [entry.lq for entry in find_entries(small("spmcs", lq=option), tmp_path).entries] == [None] * 3


def test_frozen_leaves_an_lq_aside_and_either_takes_it(tmp_path):
    write_set(tmp_path, "GT/{}", "LQ/{}")
    assert all(entry.lq is None for entry in find_entries(small("spmcs", lq="frozen"), tmp_path).entries)
    assert all(entry.lq for entry in find_entries(small("spmcs", lq="either"), tmp_path).entries)


def test_validation_clips_are_picked_out_of_the_merged_numbering_of_reds(tmp_path):
    write_set(tmp_path, "REDS/train_sharp/{}", None, ("239", "240", "241", "242", "243"))
    entries = find_entries(small("reds30"), tmp_path).entries
    assert [(entry.name, entry.gt.name) for entry in entries] == [("000", "240"), ("001", "241"), ("002", "242")]


def test_a_given_lq_is_required_where_it_is_asked_for(tmp_path):
    write_set(tmp_path, "spmcs/GT/{}", None)
    with pytest.raises(UserError, match="spmcs is not in"):
        find_entries(small("spmcs", lq="given"), tmp_path)


def test_folders_need_to_be_folders_with_clips(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"--gt .*empty holds no video"):
        pair_folders(None, tmp_path / "empty")
    with pytest.raises(UserError, match=r"--lq .*absent is not a folder"):
        pair_folders(tmp_path / "absent", None)
    with pytest.raises(UserError, match="absent is not a folder"):
        locate(small("spmcs"), tmp_path / "absent", [Layout("GT/{clip}")])


def test_letter_case_of_folders_does_not_matter_unless_both_are_there(tmp_path):
    (tmp_path / "Gt" / "x").mkdir(parents=True)
    assert descend(tmp_path, "GT/X") == tmp_path / "Gt" / "x"
    (tmp_path / "GT" / "X").mkdir(parents=True)
    assert descend(tmp_path, "GT/X") == tmp_path / "GT" / "X"
    assert descend(tmp_path, "GT/absent") is None
