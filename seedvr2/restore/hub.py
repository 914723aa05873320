"""Files from the Hugging Face hub into its cache: told beforehand, resumed after an interruption, and checked.

A file gets its name in the cache when it is whole and has the checksum that the hub and our table give. Everything else
about the cache (HF_HOME, HF_ENDPOINT, tokens, links) is left to huggingface_hub, which does not resume between runs.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    WeakFileLock,
    build_hf_headers,
    disable_progress_bars,
)

from seedvr2.errors import UserError
from seedvr2.restore.journal import hash_of
from seedvr2.restore.table import HubFile

Say = Callable[[str], None]
NETWORK = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"}  # whose errors are those of the network
SHA256 = re.compile(r"[0-9a-f]{64}")  # the entity tag of a large file is its checksum


class Remote(NamedTuple):
    """A file as the hub describes it. size: bytes, None if it does not say."""

    file: HubFile
    commit: str
    etag: str
    size: int | None

    @property
    def folder(self) -> Path:
        """Where the cache keeps its repository."""
        return Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=self.file.repository, repo_type="model"))

    @property
    def blob(self) -> Path:
        """The file in the cache, by its entity tag."""
        return self.folder / "blobs" / self.etag

    @property
    def part(self) -> Path:
        """What is there of it already."""
        return self.blob.with_name(f"{self.etag}.part")


def cached(file: HubFile) -> Path | None:
    """The file in the cache, or one of the same name that ends in .safetensors; None if it is not there."""
    for name in dict.fromkeys((file.name, str(Path(file.name).with_suffix(".safetensors")))):
        found = huggingface_hub.try_to_load_from_cache(file.repository, name, revision=file.revision)
        if isinstance(found, str):
            return Path(found)
    return None


def fetch(files: Sequence[HubFile], *, say: Say, progress: bool = True) -> list[Path]:
    """Bring files into the cache; returns where they lie. Raises UserError for everything that can go wrong."""
    if constants.HF_HUB_OFFLINE:
        names = ", ".join(file.name for file in files)
        raise UserError(
            f"{names} of {files[0].repository} must be fetched, but HF_HUB_OFFLINE is set; unset it, or put them "
            "into a folder that $SEEDVR2_WEIGHTS names"
        )
    if not progress:
        disable_progress_bars()
    found = [_look_up(file) for file in files]
    _check_room(found)
    sizes = ", ".join(f"{remote.file.name} ({_size(remote.size)})" for remote in found)
    total = sum(remote.size or 0 for remote in found)
    place = f"{constants.ENDPOINT}/{files[0].repository}"
    say(f"fetching {sizes}, {_size(total)} in all, from {place} to {constants.HF_HUB_CACHE}")
    return [_fetched(remote, say) for remote in found]


def _look_up(file: HubFile) -> Remote:
    url = huggingface_hub.hf_hub_url(file.repository, file.name, revision=file.revision)
    with _sentences(file):
        metadata = huggingface_hub.get_hf_file_metadata(url)
    if not (metadata.commit_hash and re.fullmatch(r"[\w-]+", metadata.etag or "")):
        raise UserError(f"{constants.ENDPOINT} does not answer like a Hugging Face hub; correct or unset HF_ENDPOINT")
    return Remote(file, metadata.commit_hash, metadata.etag, metadata.size)


def _check_room(found: Sequence[Remote]) -> None:
    missing = sum((remote.size or 0) - _bytes(remote.part) for remote in found if not remote.blob.is_file())
    place = next(folder for folder in (found[0].folder, *found[0].folder.parents) if folder.is_dir())
    if missing > (free := shutil.disk_usage(place).free):
        raise UserError(
            f"{constants.HF_HUB_CACHE} has room for {_size(free)}, but {_size(missing)} must be fetched; make room "
            "there or set HF_HOME to another place"
        )


def _fetched(remote: Remote, say: Say) -> Path:
    file = remote.file
    with _sentences(file):
        lock = remote.folder.parent / ".locks" / remote.folder.name / f"{remote.etag}.lock"
        for folder in (lock.parent, remote.blob.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):  # another process may want it too
            if not remote.blob.is_file():
                _download(remote, say)
        # all that is left to do is its link
        return Path(huggingface_hub.hf_hub_download(file.repository, file.name, revision=file.revision))


def _download(remote: Remote, say: Say) -> None:
    file, part = remote.file, remote.part
    if remote.size is not None and _bytes(part) > remote.size:
        part.unlink()
    if done := _bytes(part):
        say(f"{file.name}: going on after {_size(done)}")
    url = huggingface_hub.hf_hub_url(file.repository, file.name, revision=remote.commit)
    with open(part, "ab") as output:
        http_get(
            url,
            output,
            resume_size=done,
            headers=build_hf_headers(),
            expected_size=remote.size,
            displayed_filename=file.name,
        )
    digest = hash_of(part)
    for wanted in {file.sha256, remote.etag if SHA256.fullmatch(remote.etag) else None} - {None, digest}:
        part.unlink()
        raise UserError(
            f"{file.name} of {file.repository} came with the sha256 {digest} instead of {wanted}, so it was not kept; "
            "run again, and check the table of models if that does not help"
        )
    os.replace(part, remote.blob)
    say(f"{file.name}: sha256 {digest}{', as it should be' if file.sha256 else ''}")


@contextlib.contextmanager
def _sentences(file: HubFile) -> Iterator[None]:
    """Turn what can go wrong with a file on its way here into one sentence."""
    place = f"{constants.ENDPOINT}/{file.repository}"
    try:
        yield
    except GatedRepoError as error:
        raise UserError(
            f"{place} asks for its conditions to be accepted; do so there, then run `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"{place} has no revision {file.revision!r}; correct it in the table of models") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"there is no {place}, or it is private; correct it in the table of models, or run `hf auth login`"
        ) from error
    except LocalEntryNotFoundError as error:
        raise UserError(_broken(error, file)) from error
    except EntryNotFoundError as error:
        raise UserError(
            f"{place} has no file {file.name} in its revision {file.revision!r}; correct it in the table of models"
        ) from error
    except HfHubHTTPError as error:
        raise UserError(f"{place} cannot give {file.name} ({_first(error)}); try again later") from error
    except OSError as error:
        if _is_of_network(error):
            raise UserError(_broken(error, file)) from error
        raise UserError(
            f"{file.name} cannot be written into {constants.HF_HUB_CACHE} ({_first(error)}); make room there or set "
            "HF_HOME to another place"
        ) from error
    except Exception as error:
        if not _is_of_network(error):
            raise
        raise UserError(_broken(error, file)) from error


def _broken(error: Exception, file: HubFile) -> str:
    return (
        f"{constants.ENDPOINT} cannot be reached or broke off ({_first(error)}) while {file.name} was fetched; run "
        "again, which goes on from there, or put the files of the model into a folder that $SEEDVR2_WEIGHTS names"
    )


def _is_of_network(error: Exception) -> bool:
    packages = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    is_short = isinstance(error, OSError) and "Consistency check" in str(error)  # fewer bytes came than were told
    return bool(packages & NETWORK) or is_short or isinstance(error, ConnectionError | TimeoutError)


def _first(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0]


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _size(count: int | None) -> str:
    if count is None:
        return "of unknown size"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
