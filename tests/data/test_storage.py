"""Files of a storage are whole or absent, on a disk and behind URLs."""

import contextlib
import os
import resource

import fsspec
import pytest

from seedvr2.data.storage import Storage
from seedvr2.errors import UserError


@pytest.fixture(params=["path", "file", "memory"])
def location(request, tmp_path):
    yield {"path": f"{tmp_path}/new/deep", "file": f"file://{tmp_path}/new/deep", "memory": "memory://new/deep"}[
        request.param
    ]
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm("/new", recursive=True)


def names(location):
    files, folder = fsspec.core.url_to_fs(location)
    return sorted(path.rpartition("/")[2] for path in files.ls(folder, detail=False))


def test_a_file_is_there_when_it_is_complete(location):
    storage = Storage(location)
    with storage.whole("a.bin") as file:
        file.write(b"abc" * 1000)
        assert storage.size("a.bin") is None
    assert storage.size("a.bin") == 3000
    assert names(location) == ["a.bin"]


def test_nothing_is_left_of_a_failure(location):
    storage = Storage(location)
    with storage.whole("a.bin") as file:
        file.write(b"old")
    for name in ("a.bin", "b.bin"):
        with pytest.raises((TypeError, AttributeError)), storage.whole(name) as file:
            file.writelines([b"x" * 100_000, None])
    assert names(location) == ["a.bin"]
    assert storage.size("a.bin") == 3


def test_a_full_disk_is_one_sentence(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for location in (str(tmp_path / "a"), f"file://{tmp_path}/b"):
        storage = Storage(location)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        try:
            with pytest.raises(UserError, match=r"cannot be written to .* free space"), storage.whole("x") as file:
                file.write(b"x" * 10**6)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert names(location) == []


def test_places_that_cannot_be_are_named(tmp_path):
    (tmp_path / "file").touch()
    for location in (tmp_path / "file" / "deep", f"file://{tmp_path}/file/deep"):
        with pytest.raises(UserError, match="cannot be written"):
            Storage(location)
    with pytest.raises(UserError, match="cannot be opened"):
        Storage("nonsense://a/b")
    assert os.listdir(tmp_path) == ["file"]
