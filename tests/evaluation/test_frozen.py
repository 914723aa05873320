import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from seedvr2.errors import UserError
from seedvr2.evaluation import frozen
from seedvr2.evaluation.benchmark import find_entries, load_bench
from seedvr2.evaluation.footage import measure, read_clip
from seedvr2.evaluation.frozen import frozen_lq
from seedvr2.evaluation.protocol import bicubic, geometry_of, triples
from tests.evaluation.miniatures import moving, write_folder, write_video

CLIPS = ("a", "b", "c")
# Makes the LQ of the GT in argv[1] below argv[2]; if argv[3] says so it dies by SIGKILL in the second clip, between
# the file and its record.
OTHER_PROCESS = """
import os, signal, sys
from pathlib import Path
from seedvr2.evaluation import frozen
from seedvr2.evaluation.benchmark import find_entries, load_bench
if sys.argv[3] == "die":
    write, made = frozen._write_json, []
    def die(*arguments):
        made.append(0)
        return write(*arguments) if len(made) < 2 else os.kill(os.getpid(), signal.SIGKILL)
    frozen._write_json = die
bench = load_bench("folder")
entries = find_entries(bench, gt=Path(sys.argv[1])).entries
print(frozen.frozen_lq(bench, entries, Path(sys.argv[2]), say=lambda line: None)[1])
"""


@pytest.fixture(scope="module")
def bench():
    return load_bench("folder")


@pytest.fixture(scope="module")
def gt(tmp_path_factory):
    """A folder with the GT of three clips of 72 x 150 pixels, of which 64 x 128 are used."""
    folder = tmp_path_factory.mktemp("gt")
    for seed, name in enumerate(CLIPS):
        write_folder(folder / name, moving(seed, 3, 72, 150))
    return folder


@pytest.fixture(scope="module")
def made(bench, gt, tmp_path_factory):
    """(entries, hash, cache) of a run in this process; not to be changed."""
    cache = tmp_path_factory.mktemp("cache")
    return *frozen_lq(bench, find_entries(bench, gt=gt).entries, cache, say=lambda line: None), cache


def bytes_below(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def elsewhere(gt, cache, how: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", OTHER_PROCESS, str(gt), str(cache), how]
    environment = {**os.environ, "OMP_NUM_THREADS": "3"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_frozen_clips_can_be_scored_against_their_ground_truth(bench, made):
    entries, digest, cache = made
    assert [entry.name for entry in entries] == list(CLIPS)
    assert len(digest) == 64
    for entry in entries:
        assert entry.is_frozen
        assert entry.lq_size == measure(entry.lq).size == (16, 32)
        assert entry.lq.parent.parent.parent == cache
        assert entry.lq.parent.parent.name.startswith("folder-")
        scored = list(triples(entry, bicubic(entry, geometry_of(bench, entry)), bench))
        assert len(scored) == 3
        assert all(up.shape == true.shape == (64, 128, 3) for up, true, _ in scored)


def test_seeds_and_drawn_parameters_are_recorded_per_clip(made):
    entries, digest, _ = made
    manifest = json.loads((entries[0].lq.parent.parent / "manifest.json").read_text())
    assert manifest["hash"] == digest
    assert set(manifest["versions"]) == {"seedvr2", "av", "numpy", "opencv", "torch"}
    records = manifest["clips"]
    assert list(records) == list(CLIPS)
    assert len({record["seed"] for record in records.values()}) == len(CLIPS)
    assert all(len(record["drawn"]) > 5 and record["gt_crop"] == [4, 11, 64, 128] for record in records.values())
    assert len({json.dumps(record["drawn"]) for record in records.values()}) == len(CLIPS)


def test_the_lq_is_the_same_in_another_process_with_several_workers_and_after_a_kill(bench, gt, made, tmp_path):
    _, digest, cache = made
    wanted = bytes_below(cache)
    killed = elsewhere(gt, tmp_path / "killed", "die")
    assert killed.returncode == -signal.SIGKILL
    left = bytes_below(tmp_path / "killed")
    assert len(list((tmp_path / "killed").glob("*/.work-*"))) == 1
    assert {path.name for path in left if path.suffix in (".mkv", ".json")} == {"a.mkv", "a.json", "b.mkv"}
    lines = []
    again = frozen_lq(bench, find_entries(bench, gt=gt).entries, tmp_path / "killed", workers=2, say=lines.append)
    assert again[1] == digest
    assert "1 of 3 clips are there" in lines[0]
    assert len(lines) == 3
    assert bytes_below(tmp_path / "killed") == wanted
    assert list((tmp_path / "killed").glob("*/.work-*")) == []
    finished = elsewhere(gt, tmp_path / "other", "live")
    assert finished.stdout.strip() == digest, finished.stderr
    assert bytes_below(tmp_path / "other") == wanted


def test_a_sound_cache_is_kept_and_a_damaged_clip_is_named_and_made_again(bench, gt, made, tmp_path, monkeypatch):
    entries, digest, cache = made
    shutil.copytree(cache, tmp_path / "cache")
    found = find_entries(bench, gt=gt).entries
    monkeypatch.setattr(frozen, "make_clip", None)  # nothing may be made
    lines = []
    assert frozen_lq(bench, found, tmp_path / "cache", say=lines.append)[1] == digest
    assert len(lines) == 1
    monkeypatch.undo()
    victim = tmp_path / "cache" / entries[1].lq.relative_to(cache)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    lines = []
    assert frozen_lq(bench, found, tmp_path / "cache", say=lines.append)[1] == digest
    assert "b is damaged" in lines[0]
    assert "made b (1 of 1)" in lines[-1]
    assert bytes_below(tmp_path / "cache") == bytes_below(cache)


def test_the_lq_depends_on_the_name_the_set_and_the_pixels_but_not_on_the_kind_of_file(bench, gt, made, tmp_path):
    entries, _, _ = made
    write_video(tmp_path / "gt" / "a.mkv", moving(0, 3, 72, 150))
    write_folder(tmp_path / "gt" / "other", moving(0, 3, 72, 150))
    found = find_entries(bench, gt=tmp_path / "gt").entries
    same, other = frozen_lq(bench, found, tmp_path / "cache", say=lambda line: None)[0]
    assert np.array_equal(list(read_clip(same.lq)), list(read_clip(entries[0].lq)))
    assert not np.array_equal(list(read_clip(other.lq)), list(read_clip(entries[0].lq)))
    renamed = dataclasses.replace(bench, name="mine")
    second = frozen_lq(renamed, found[:1], tmp_path / "cache", say=lambda line: None)[0][0]
    assert not np.array_equal(list(read_clip(second.lq)), list(read_clip(entries[0].lq)))


def test_clips_without_or_with_too_small_a_ground_truth_are_named(bench, gt, tmp_path):
    entry = find_entries(bench, gt=gt).entries[0]
    with pytest.raises(UserError, match="clip a of folder has no GT"):
        frozen_lq(bench, [entry._replace(gt=None, gt_size=None)], tmp_path)
    with pytest.raises(UserError, match="clip a: a GT of 150x63 is smaller than 64"):
        frozen_lq(bench, [entry._replace(gt_size=(63, 150))], tmp_path)


def test_a_ground_truth_that_cannot_be_read_stops_the_run_with_its_name(bench, gt, tmp_path):
    shutil.copytree(gt / "a", tmp_path / "gt" / "a")
    found = find_entries(bench, gt=tmp_path / "gt").entries
    picture = tmp_path / "gt" / "a" / "00000001.png"
    picture.write_bytes(picture.read_bytes()[:2000])
    with pytest.raises(UserError, match="LQ of a cannot be made"):
        frozen_lq(bench, found, tmp_path / "cache", say=lambda line: None)
    assert list((tmp_path / "cache").rglob("*.mkv")) == []
