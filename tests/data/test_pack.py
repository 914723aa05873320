"""Shards are plain tar files that hold the very bytes of the files, and packing can be killed at any time."""

import functools
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from seedvr2.data.index import build_index
from seedvr2.data.indexing.filters import Filters
from seedvr2.data.indexing.rows import Index
from seedvr2.data.pack import main, pack, parse_size
from seedvr2.data.shards import open_clip, open_member
from seedvr2.errors import UserError
from tests.data.clips import pan, texture, write_clip


def make_index(root):
    """Eight clips in seven files: videos, pictures and a folder of frames with long names."""
    data = root / "data"
    (data / "frames").mkdir(parents=True)
    for seed in range(3):
        write_clip(data / f"clip{seed}.MP4", pan(seed, 6))
    write_clip(data / "shots.mkv", pan(3, 6) + pan(4, 6))
    for number, frame in enumerate(pan(5, 8)):
        Image.fromarray(frame).save(data / "frames" / f"{'0' * 110}{number}.png")
    for seed in range(2):
        Image.fromarray(texture(8 + seed)).save(data / f"picture{'ab'[seed]}.png")
    build_index(data, root / "index.parquet", filters=Filters(min_side=64), metadata={}, workers=1)
    return root / "index.parquet"


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return Index(make_index(tmp_path_factory.mktemp("packing")))


@pytest.fixture
def own(index, tmp_path):
    """A copy of the data that a test may change."""
    shutil.copytree(index.root, tmp_path / "data")
    return Index(index.location, root=tmp_path / "data")


def contents(index, clip):
    files = open_clip(index, clip)
    try:
        return [(name, file.read()) for name, file in files]
    finally:
        for _, file in files:
            file.close()


def data_of(index, clip):
    return [data for _, data in contents(index, clip)]


def original(index, clip):
    path = Path(index.root, clip.path)
    return [file.read_bytes() for file in (sorted(path.iterdir()) if path.is_dir() else [path])]


def everything(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("shard_size", [1024, 60_000, 10**9])
def test_contents_by_offset_equal_the_files(index, tmp_path, shard_size):
    shards = pack(index, str(tmp_path), shard_size=shard_size)
    assert shards == len(list(tmp_path.glob("*.tar")))
    packed = Index(tmp_path / "index.parquet")
    assert len(packed) == len(index) == 8
    for number in range(len(index)):
        clip, plain = packed[number], index[number]
        assert clip._replace(shard="", offset=0, size=plain.size) == plain
        assert data_of(packed, clip) == original(index, plain)
        assert data_of(index, plain) == original(index, plain)
        if plain.kind != "frames":  # also without the library
            raw = (tmp_path / clip.shard).read_bytes()[clip.offset : clip.offset + clip.size]
            assert [raw] == original(index, plain)


def test_parts_of_folders_of_frames_are_read_alone(index, tmp_path):
    pack(index, str(tmp_path), shard_size=10**9)
    packed = Index(tmp_path / "index.parquet")
    for source in (index, packed):
        (clip,) = [clip for clip in map(source.__getitem__, range(len(source))) if clip.kind == "frames"]
        part = contents(source, clip._replace(start=2, frames=3))
        assert [name[-5:] for name, _ in part] == ["2.png", "3.png", "4.png"]
        assert part == contents(source, clip)[2:5]


def test_shards_are_plain_tar_files(index, tmp_path):
    pack(index, str(tmp_path), shard_size=60_000)
    found = {}
    for shard in sorted(tmp_path.glob("*.tar")):
        listing = subprocess.run(["tar", "tf", shard], capture_output=True, text=True, check=True)
        with tarfile.open(shard) as members:
            assert listing.stdout.split() == members.getnames()
            found |= {member.name: members.extractfile(member).read() for member in members}
            assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}
    clips = {clip.path: clip for clip in map(index.__getitem__, range(len(index)))}
    for path, clip in clips.items():
        key = clip.id.rpartition("-")[0]
        if clip.kind == "frames":
            assert sum(name.startswith(f"{key}/") for name in found) == 8
        else:
            assert [found[key + os.path.splitext(path)[1].lower()]] == original(index, clip)
    assert len(found) == 8 + len(clips) - 1


def test_shards_keep_their_size(index, tmp_path):
    pack(index, str(tmp_path), shard_size=60_000)
    sizes = [path.stat().st_size for path in tmp_path.glob("*.tar")]
    biggest = max(clip.size for clip in map(Index(tmp_path / "index.parquet").__getitem__, range(8)))
    assert len(sizes) > 2
    assert all(size <= max(60_000, biggest + 2048) for size in sizes)


def test_packing_again_makes_the_same_bytes(own, tmp_path):
    pack(own, str(tmp_path / "a"), shard_size=60_000)
    for path in tmp_path.glob("data/*"):
        os.utime(path, (1, 1))
    pack(own, str(tmp_path / "b"), shard_size=60_000)
    assert everything(tmp_path / "a") == everything(tmp_path / "b")


def test_killed_and_resumed_equals_uninterrupted(index, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    line = [index.location, "--shard-size", "20K", "--output"]
    main([*line, str(whole)])
    slowed = (  # every block waits, so that the kill falls into a shard
        "import sys, time; from seedvr2.data import pack\n"
        "blocks = pack._blocks\n"
        "pack._blocks = lambda *a: (time.sleep(0.05) or block for block in blocks(*a))\n"
        "pack.main(sys.argv[1:])"
    )
    with subprocess.Popen([sys.executable, "-c", slowed, *line, str(killed)], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(list(killed.glob("*.tar"))) < 2:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    done = {path.name: path.stat().st_mtime_ns for path in killed.glob("shard*.tar")}
    assert 2 <= len(done) < len(list(whole.glob("*.tar")))
    assert not (killed / "index.parquet").exists()
    main([*line, str(killed)])
    assert {name: (killed / name).stat().st_mtime_ns for name in done} == done
    assert everything(killed) == everything(whole)


@pytest.mark.parametrize("change", ["other bytes", "longer", "gone", "fewer frames"])
def test_changed_files_are_refused(own, tmp_path, change):
    path = tmp_path / "data" / "clip1.MP4"
    if change == "other bytes":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif change == "longer":
        path.write_bytes(path.read_bytes() + b"x")
    elif change == "gone":
        path.unlink()
    else:
        path = tmp_path / "data" / "frames"
        next(path.iterdir()).unlink()
    with pytest.raises(UserError, match="index the folder again") as caught:
        pack(own, str(tmp_path / "out"), shard_size=10**9)
    assert str(path) in str(caught.value)
    assert os.listdir(tmp_path / "out") == []


def test_incomplete_shards_are_named(index, tmp_path):
    pack(index, str(tmp_path), shard_size=10**9)
    (shard,) = tmp_path.glob("*.tar")
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{shard.name} .* is not complete"):
        pack(index, str(tmp_path), shard_size=10**9)


def test_a_full_disk_is_one_sentence_and_leaves_no_half(index, tmp_path):
    line = [sys.executable, "-m", "seedvr2.data.pack", index.location, "--shard-size", "20K", "--output", str(tmp_path)]
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (30_000, 30_000))
    done = subprocess.run(line, capture_output=True, text=True, preexec_fn=limit, check=False)
    complaints = [line for line in done.stderr.splitlines() if " files/s" not in line]
    assert (done.returncode, len(complaints)) == (2, 1)
    assert "cannot be written to" in complaints[0]
    assert not list(tmp_path.glob(".*"))
    assert not (tmp_path / "index.parquet").exists()
    main([index.location, "--shard-size", "20K", "--output", str(tmp_path)])
    assert len(Index(tmp_path / "index.parquet")) == 8


def test_packed_indexes_and_their_own_place_are_refused(index, tmp_path):
    pack(index, str(tmp_path), shard_size=10**9)
    with pytest.raises(UserError, match="is packed already"):
        pack(Index(tmp_path / "index.parquet"), str(tmp_path / "again"), shard_size=10**9)
    before = Path(index.location).read_bytes()
    with pytest.raises(UserError, match="would replace"):
        pack(index, os.path.dirname(index.location), shard_size=10**9)
    assert Path(index.location).read_bytes() == before


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_urls_hold_the_same_bytes_as_folders(index, tmp_path, scheme):
    url = f"{scheme}://{tmp_path}/remote"
    pack(index, str(tmp_path / "local"), shard_size=60_000)
    for _ in range(2):  # again: everything is there
        pack(index, url, shard_size=60_000)
    files, folder = fsspec.core.url_to_fs(url)
    stored = {path.rpartition("/")[2]: files.cat_file(path) for path in files.ls(folder, detail=False)}
    assert stored == everything(tmp_path / "local")
    packed = Index(f"{url}/index.parquet")
    for number in range(len(packed)):
        assert data_of(packed, packed[number]) == original(index, index[number])
    with pytest.raises(UserError, match="ends before byte"):
        open_member(f"{url}/{packed[0].shard}", 10, 10**9).read()


def test_sizes_are_read_as_people_write_them():
    assert [parse_size(text) for text in ("4096", "1K", "1.5M", "2g", "1GB")] == [4096, 1024, 3 << 19, 2 << 30, 1 << 30]
    for text in ("", "1X", "-1G", "10", "G"):
        with pytest.raises(UserError, match="give a size like 500M"):
            parse_size(text)
