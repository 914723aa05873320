import re
import shutil

import pytest

from seedvr2.errors import UserError
from seedvr2.evaluation.benchmark import described, find_entries, known, load_bench
from seedvr2.evaluation.metric import METRICS
from tests.evaluation.miniatures import moving, reduced_by_4, small, write_folder, write_video

NAMES = ["aigc28", "folder", "reds30", "spmcs", "udm10", "videolq", "youhq40"]
CONTENTS = {  # clips, frames, lines of the ground truth
    "spmcs": ("30 clips", "31 frames", "960x540"),
    "udm10": ("10 clips", "32 frames", "1272x720"),
    "reds30": ("30 clips", "100 frames", "1280x720"),
    "youhq40": ("40 clips", "about 32 frames", "1920x1080"),
    "videolq": ("50 clips", "up to 100 frames", "without ground truth"),
    "aigc28": ("28 clips", "any number of frames", "without ground truth"),
}
LAYOUTS = {"spmcs": "<clip>/truth", "udm10": "GT-Video/<clip>", "reds30": "val_sharp/<clip>", "videolq": "Input/<clip>"}


def write_set(root, clips=("a", "b", "c")):
    for seed, name in enumerate(clips):
        write_folder(root / "GT" / name, moving(seed))
        write_folder(root / "LQ" / name, reduced_by_4(moving(seed)))


def test_all_sets_of_the_paper_are_known_with_the_metrics_of_its_tables():
    assert known() == NAMES
    benches = {name: load_bench(name) for name in NAMES}
    assert all(bench.scale == 4 and bench.name == name for name, bench in benches.items())
    for name in ("spmcs", "udm10", "reds30", "youhq40"):
        assert list(benches[name].metrics["table1"]) == ["psnr", "ssim", "lpips", "dists"]
        table = ["niqe", "musiq", "clipiqa", "dover", "warp_error", "vmaf"]
        assert list(benches[name].metrics["table4"]) == table
    for name in ("videolq", "aigc28"):
        assert not benches[name].has_gt
        tables = [list(benches[name].metrics[table]) for table in ("table1", "table5", "table7")]
        assert tables == [["niqe", "musiq", "clipiqa", "dover"]] * 3
    used = {metric for bench in benches.values() for metrics in bench.metrics.values() for metric in metrics}
    assert used == set(METRICS)


def test_an_unknown_set_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match=", ".join(NAMES)):
        load_bench("reds4")


@pytest.mark.parametrize("name", sorted(CONTENTS))
def test_a_missing_set_names_everything_that_is_needed(tmp_path, name):
    with pytest.raises(UserError) as raised:
        find_entries(load_bench(name), tmp_path)
    message = str(raised.value)
    for part in (*CONTENTS[name], f"ROOT/{name}/", "<clip>/*.png", str(tmp_path), LAYOUTS.get(name, "")):
        assert part in message
    assert re.search(r"https://|unpublished", message)
    assert ("GT/<clip>" in message) == load_bench(name).has_gt
    assert "LQ/<clip>" in message
    assert "\n" not in message


def test_the_unpublished_set_says_bring_your_own():
    assert "unpublished" in described(load_bench("aigc28"))
    assert "bring your own" in described(load_bench("aigc28"))


def test_values_that_make_no_sense_are_refused():
    wrong = [{"lq": "mine"}, {"gt": "1080p"}, {"scale": 0}, {"largest": 2.5}, {"metrics": {"table1": ["lpisp"]}}]
    for changes, part in zip(wrong, ("mine", "1080p", "0", "2.5", "lpisp"), strict=True):
        with pytest.raises(UserError, match=re.escape(part)):
            small("spmcs", **changes)


def test_what_an_incomplete_set_lacks_is_listed_and_left_out_if_allowed(tmp_path):
    root = tmp_path / "spmcs"
    write_set(root)
    assert find_entries(small("spmcs"), tmp_path).problems == []
    shutil.rmtree(root / "LQ" / "b")
    (root / "LQ" / "c" / "00000003.png").unlink()
    with pytest.raises(UserError, match="--allow-partial") as raised:
        find_entries(small("spmcs"), tmp_path)
    entries, problems = find_entries(small("spmcs"), tmp_path, allow_partial=True)
    assert [entry.name for entry in entries] == ["a"]
    assert problems == ["clips without LQ: b", "there are 2 of 3 clips", "c has 4 frames of GT and 3 of LQ"]
    assert all(problem in str(raised.value) for problem in problems)


def test_a_clip_that_cannot_be_read_is_left_out_if_allowed(tmp_path):
    write_set(tmp_path)
    shutil.rmtree(tmp_path / "GT" / "b")
    (tmp_path / "GT" / "b.mkv").write_bytes(b"no video")
    entries, problems = find_entries(small("spmcs"), tmp_path, allow_partial=True)
    assert [entry.name for entry in entries] == ["a", "c"]
    assert len(problems) == 1
    assert problems[0].startswith("b cannot be used")


def test_a_set_cut_by_a_frame_is_incomplete(tmp_path):
    write_set(tmp_path)
    for side in ("GT", "LQ"):
        (tmp_path / side / "a" / "00000000.png").unlink()
    assert find_entries(small("spmcs"), tmp_path, allow_partial=True).problems == ["a has 3 of 4 frames"]
    assert find_entries(small("spmcs", frames=None), tmp_path).problems == []


def test_own_folders_are_paired_by_name_whatever_the_kind_of_file(tmp_path):
    clip = moving(1)
    write_folder(tmp_path / "lq" / "x.1", reduced_by_4(clip))
    write_video(tmp_path / "gt" / "x.1.mkv", clip)
    write_folder(tmp_path / "lq" / "cats" / "y", reduced_by_4(clip))
    write_folder(tmp_path / "gt" / "cats" / "y", clip, first=1)
    entries = find_entries(load_bench("folder"), lq=tmp_path / "lq", gt=tmp_path / "gt").entries
    assert sorted((entry.name, entry.frames, entry.gt_size) for entry in entries) == [
        ("cats/y", 4, (64, 128)),
        ("x.1", 4, (64, 128)),
    ]
    only = find_entries(load_bench("folder"), gt=tmp_path / "gt" / "cats" / "y").entries
    assert [(entry.name, entry.lq) for entry in only] == [("clip", None)]
    with pytest.raises(UserError, match="--bench folder needs --data-root"):
        find_entries(load_bench("folder"))


def test_a_name_that_two_clips_have_is_refused(tmp_path):
    write_folder(tmp_path / "x", moving(1))
    write_video(tmp_path / "x.mkv", moving(1))
    with pytest.raises(UserError, match="two clips named x"):
        find_entries(load_bench("folder"), gt=tmp_path)
