"""Hashes of weight files, remembered where reading them again would take long."""

import hashlib
import os

import pytest

from seedvr2.restore import hashes
from seedvr2.restore.hashes import file_hash


@pytest.fixture
def reads(monkeypatch, tmp_path):
    """Files that were read whole; all files count as large."""
    reads, real = [], hashes.hash_of
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "LARGE", 0)
    monkeypatch.setattr(hashes, "hash_of", lambda path: reads.append(path.name) or real(path))
    return reads


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_large_file_is_read_once_unless_it_changes(reads, tmp_path):
    path = tmp_path / "w.pth"
    path.write_text("one")
    assert [file_hash(path), file_hash(path)] == [sha256("one")] * 2
    assert reads == ["w.pth"]
    path.write_text("two")
    os.utime(path, (0, 0))
    assert file_hash(path) == sha256("two")
    assert reads == ["w.pth"] * 2


def test_the_cache_of_the_hub_names_files_by_their_hash(reads, tmp_path):
    blob = tmp_path / "blobs" / sha256("x")
    blob.parent.mkdir()
    blob.write_text("x")
    (tmp_path / "w.pth").symlink_to(blob)
    assert file_hash(tmp_path / "w.pth") == sha256("x")
    assert reads == []


def test_without_a_place_to_remember_it_the_file_is_read_again(reads, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    (tmp_path / "w.pth").write_text("one")
    assert [file_hash(tmp_path / "w.pth") for _ in range(2)] == [sha256("one")] * 2
    assert reads == ["w.pth"] * 2
