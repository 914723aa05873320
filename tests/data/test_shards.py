"""Members of shards behave like files of their own, on disks and behind URLs."""

import io
import os

import av
import fsspec
import numpy as np
import pytest
from PIL import Image

from seedvr2.data import shards
from seedvr2.data.indexing.rows import Index
from seedvr2.data.shards import open_member
from seedvr2.errors import UserError
from tests.data.clips import pan, texture, write_clip


@pytest.fixture(params=["path", "memory", "memory in pieces", "file"])
def shard(request, tmp_path, monkeypatch):
    """A place that stores bytes and names where."""

    def put(content: bytes) -> str:
        path = tmp_path / "shard.tar"
        if "memory" not in request.param:
            path.write_bytes(content)
            return f"file://{path}" if request.param == "file" else str(path)
        fsspec.filesystem("memory").pipe_file(str(path), content)
        return f"memory://{path}"

    if "pieces" in request.param:
        monkeypatch.setattr(shards, "ONE_REQUEST", 100)
        monkeypatch.setattr(shards, "REMOTE_BUFFER", 512)
    return put


def test_a_member_reads_and_seeks_like_its_bytes(shard):
    content = np.random.default_rng(0).bytes(5000)
    place, member = shard(content), content[700:4100]
    draw = np.random.default_rng(1)
    with open_member(place, 700, len(member)) as file:
        twin = io.BytesIO(member)
        for _ in range(200):
            to, whence = int(draw.integers(-50, 4000)), int(draw.integers(3))
            if (to, whence)[1] == 0 or twin.tell() + to < 0 or whence == 2:
                to, whence = abs(to), 0
            assert file.seek(to, whence) == twin.seek(to, whence)
            count = int(draw.integers(-1, 1500))
            assert file.read(count) == twin.read(count)
        assert file.seek(-5, io.SEEK_END) == len(member) - 5
        assert file.read() == member[-5:]


def test_decoders_open_members(shard, tmp_path):
    video = write_clip(tmp_path / "a.mp4", pan(0, 9)).read_bytes()
    picture = io.BytesIO()
    Image.fromarray(texture(0)).save(picture, "PNG")
    place = shard(b"before" + video + picture.getvalue() + b"after")
    with open_member(place, 6, len(video)) as file, av.open(file) as container:
        assert sum(1 for _ in container.decode(video=0)) == 9
    with open_member(place, 6 + len(video), len(picture.getvalue())) as file:
        assert np.array_equal(np.asarray(Image.open(file)), texture(0))


def test_missing_and_short_shards_are_named(shard):
    place = shard(b"x" * 1000)
    with pytest.raises(UserError, match="ends before byte 1001"):
        open_member(place, 500, 501)
    with pytest.raises(UserError, match="cannot be read"):
        open_member(f"{place}.absent", 0, 10)
    with open_member(place, 0, 0) as file:
        assert file.read() == b""


def test_only_the_member_is_read(tmp_path, monkeypatch):
    (tmp_path / "s").write_bytes(bytes(10**7))
    read = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda file, count, at: read.append((at, count)) or pread(file, count, at))
    with open_member(tmp_path / "s", 10**6, 5000) as file:
        file.read()
    assert read
    assert all(at >= 10**6 and at + count <= 10**6 + 5000 for at, count in read)


def test_closed_members_leave_no_open_file(tmp_path):
    (tmp_path / "s").write_bytes(b"x" * 100)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        open_member(tmp_path / "s", 1, 9).close()
        with pytest.raises(UserError):
            open_member(tmp_path / "s", 1, 900)
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_no_index_is_named(tmp_path):
    (tmp_path / "text.parquet").write_text("hello")
    for place, message in [
        (tmp_path / "absent.parquet", "cannot be read as an index"),
        (tmp_path / "text.parquet", "cannot be read as an index"),
        (f"memory://{tmp_path}/absent.parquet", "cannot be read as an index"),
    ]:
        with pytest.raises(UserError, match=message):
            Index(place)
