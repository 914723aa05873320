"""A folder to write whole files into, on a disk or behind a URL that fsspec understands."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import fsspec

from seedvr2.errors import UserError
from seedvr2.io.files import whole


def is_url(location: str) -> bool:
    """Whether a location is a URL and not a path."""
    return "://" in location


def file_system(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URL and the path inside it; raises UserError if its driver is missing."""
    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UserError(f"{url} cannot be opened ({error}); install the driver it asks for") from error


class Storage:
    """A folder at a path or URL. Files appear when they are complete; object stores do so by themselves.

    Raises UserError if the folder cannot be made or a file cannot be written.
    """

    def __init__(self, location: str | Path):
        self.location = str(location).rstrip("/")
        with self._explained("a folder"):
            if is_url(self.location):
                self._files, self._folder = file_system(self.location)
                self._files.makedirs(self._folder, exist_ok=True)
            else:
                self._files, self._folder = None, self.location
                Path(self.location).mkdir(parents=True, exist_ok=True)

    def size(self, name: str) -> int | None:
        """Bytes of a complete file; None if it is not there."""
        path = f"{self._folder}/{name}"
        with self._explained(name):
            try:
                return self._files.size(path) if self._files else os.path.getsize(path)
            except FileNotFoundError:
                return None

    @contextlib.contextmanager
    def whole(self, name: str) -> Iterator[IO[bytes]]:
        """A file to write to; it is there under its name if the block succeeds, and nothing is left if not."""
        path = f"{self._folder}/{name}"
        with self._explained(name), self._remote(path) if self._files else _local(Path(path)) as file:
            yield file

    @contextlib.contextmanager
    def _remote(self, path: str) -> Iterator[IO[bytes]]:
        with self._files.transaction, self._files.open(path, "wb") as file:
            yield file

    @contextlib.contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise UserError(
                f"{name} cannot be written to {self.location} ({reason}); free space or choose another --output"
            ) from error


@contextlib.contextmanager
def _local(path: Path) -> Iterator[IO[bytes]]:
    with whole(path) as partial, open(partial, "wb") as file:
        yield file
