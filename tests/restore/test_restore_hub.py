"""Downloads from a hub on this machine: told, resumed, checked, and one sentence for everything that goes wrong."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from seedvr2.errors import UserError
from seedvr2.restore import hub as downloads
from seedvr2.restore.hub import cached, fetch
from seedvr2.restore.table import HubFile
from tests import hub as fake

REPOSITORY = "owner/name"
CONTENT = bytes(range(256)) * 4096  # 1 MB


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with fake.running() as hub:
        hub.files = {f"{REPOSITORY}/a.pth": CONTENT, f"{REPOSITORY}/b.pt": b"small"}
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        addresses = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", addresses)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)  # what a broken connection can cost
        yield hub


def wanted(name="a.pth", **changes):
    return HubFile(**{"repository": REPOSITORY, "revision": "main", "name": name, **changes})


def digest(content):
    return hashlib.sha256(content).hexdigest()


def left(folder):
    """Names of all files, but those that huggingface_hub keeps for itself."""
    files = [path.name for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(name for name in files if not name.endswith(".lock") and name not in ("CACHEDIR.TAG", "main"))


def test_files_are_told_with_their_sizes_before_they_come_and_lie_in_the_cache(hub):
    told = []

    def say(text):
        told.append((text, len(hub.sent)))

    paths = fetch([wanted(sha256=digest(CONTENT)), wanted("b.pt")], say=say, progress=False)
    assert [path.read_bytes() for path in paths] == [CONTENT, b"small"]
    text, sent = told[0]
    assert "a.pth (1.0 MB), b.pt (0.0 MB), 1.0 MB in all" in text
    assert hub.url in text
    assert sent == 0
    assert told[1][0] == f"a.pth: sha256 {digest(CONTENT)}, as it should be"
    assert told[2][0] == f"b.pt: sha256 {digest(b'small')}"
    assert [cached(wanted()), cached(wanted("b.pt"))] == paths


def test_other_programs_find_the_files_and_fetch_nothing(hub):
    path = fetch([wanted()], say=print, progress=False)[0]
    assert len(hub.sent) == 1
    assert huggingface_hub.hf_hub_download(REPOSITORY, "a.pth") == str(path)
    assert len(hub.sent) == 1


def test_a_connection_that_breaks_off_is_taken_up_where_it_broke(hub):
    hub.cut = 700_000
    assert fetch([wanted()], say=print, progress=False)[0].read_bytes() == CONTENT
    assert [first for _, first, _ in hub.sent] == [0, 700_000]


KILLED = """
import os, sys
from huggingface_hub import constants
from seedvr2.restore import hub
from seedvr2.restore.table import HubFile
real = hub.http_get
def get(url, output, **settings):
    class Dying:
        def __getattr__(self, name): return getattr(output, name)
        def write(self, data):
            output.write(data[:400_000]); output.flush(); os.kill(os.getpid(), 9)
    real(url, Dying(), **settings)
hub.http_get = get
hub.fetch([HubFile("owner/name", "main", "a.pth")], say=print, progress=False)
"""


def test_a_killed_download_goes_on_in_the_next_run(hub, tmp_path):
    places = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "cache")}
    environment = {**os.environ, **places}
    assert subprocess.run([sys.executable, "-c", KILLED], env=environment).returncode == -9
    assert left(tmp_path / "cache") == [f"{digest(CONTENT)}.part"]
    assert cached(wanted()) is None
    told = []
    assert fetch([wanted()], say=told.append, progress=False)[0].read_bytes() == CONTENT
    assert hub.sent[-1] == (f"{REPOSITORY}/a.pth", 400_000, len(CONTENT) - 400_000)
    assert "a.pth: going on after 0.4 MB" in told
    assert left(tmp_path / "cache") == [digest(CONTENT)]


def test_a_wrong_checksum_leaves_nothing(hub, tmp_path):
    hub.liars = {f"{REPOSITORY}/a.pth"}
    with pytest.raises(UserError, match=rf"a\.pth of owner/name came with the sha256 .* instead of {digest(CONTENT)}"):
        fetch([wanted()], say=print, progress=False)
    assert left(tmp_path / "cache") == []
    hub.liars = set()
    sent = len(hub.sent)
    with pytest.raises(UserError, match=f"{digest(CONTENT)} on the hub instead of {'0' * 64}, so it was not fetched"):
        fetch([wanted(sha256="0" * 64)], say=print, progress=False)
    assert len(hub.sent) == sent
    assert left(tmp_path / "cache") == []
    assert cached(wanted()) is None


def test_what_the_hub_refuses_is_one_sentence(hub, tmp_path):
    hub.gated = {"owner/gated"}
    for changes, told in (
        ({"name": "c.pth"}, f"{hub.url}/owner/name has no file c.pth in its revision 'main'"),
        ({"revision": "v9"}, "has no revision 'v9'"),
        ({"repository": "owner/nothing"}, f"there is no {hub.url}/owner/nothing, or it is private"),
        ({"repository": "owner/gated"}, "owner/gated asks for its conditions to be accepted"),
    ):
        with pytest.raises(UserError, match=told) as caught:
            fetch([wanted(**changes)], say=print, progress=False)
        assert "\n" not in str(caught.value)
    hub.down = True
    with pytest.raises(UserError, match=r"cannot give a\.pth \(.*503.*\); try again later"):
        fetch([wanted()], say=print, progress=False)
    assert hub.sent == []
    assert left(tmp_path) == []


def test_without_a_network_it_says_so(hub, monkeypatch):
    hub.shutdown()
    hub.server_close()
    with pytest.raises(UserError, match=r"127\.0\.0\.1:\d+ cannot be reached.*a\.pth was fetched.*SEEDVR2_WEIGHTS"):
        fetch([wanted()], say=print, progress=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"a\.pth of owner/name must be fetched, but HF_HUB_OFFLINE is set"):
        fetch([wanted()], say=print, progress=False)


def test_a_server_that_is_no_hub_is_named(hub, monkeypatch):
    monkeypatch.setattr(
        huggingface_hub,
        "get_hf_file_metadata",
        lambda url: huggingface_hub.HfFileMetadata(None, None, url, None, None),
    )
    with pytest.raises(UserError, match=f"{hub.url} does not answer like a Hugging Face hub"):
        fetch([wanted()], say=print, progress=False)


def test_a_full_disk_is_found_before_anything_is_fetched_or_said(hub, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda place: usage)
    with pytest.raises(UserError, match=r"cache has room for 0\.0 MB, but 1\.0 MB must be fetched; make room there"):
        fetch([wanted()], say=print, progress=False)
    assert hub.sent == []


def test_a_disk_that_fills_up_is_one_sentence_and_what_came_is_kept(hub, tmp_path, monkeypatch):
    def full(url, output, **settings):
        output.write(CONTENT[:1000])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(downloads, "http_get", full)
        with pytest.raises(UserError, match=r"a\.pth cannot be written into .*cache \(No space left on device\)"):
            fetch([wanted()], say=print, progress=False)
    assert left(Path(tmp_path)) == [f"{digest(CONTENT)}.part"]
    assert fetch([wanted()], say=print, progress=False)[0].read_bytes() == CONTENT


def test_a_converted_file_in_the_cache_counts(hub, tmp_path):
    path = fetch([wanted()], say=print, progress=False)[0]
    path.rename(path.with_suffix(".safetensors"))
    assert cached(wanted()) == path.with_suffix(".safetensors")
