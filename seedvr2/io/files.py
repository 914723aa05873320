"""Files that are either whole or absent: write under a temporary name, then rename."""

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from seedvr2.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def whole(path: Path, *, contended: bool = False) -> Iterator[Path]:
    """A temporary path to write a file or folder to; it becomes `path` if the block succeeds and vanishes if not.

    contended: other processes may write the same file at the same time; each has a temporary of its own, the last wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part" if contended else f".{path.name}.part")
    remove(temporary)
    try:
        yield temporary
        if path.is_dir():  # a folder cannot be replaced in one step: an unfinished twin of it makes way first
            remove(path)
        os.replace(temporary, path)
    finally:
        remove(temporary)


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON, an item a line; the file appears when it is complete."""
    with whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def lock(file: IO, path: Path) -> None:
    """Hold a file until it is closed, or until this process ends in whatever way; file systems without locks hold none.

    Raises UserError if another process holds it. path: what is being written, for people.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise UserError(
                f"{path} is being written by another run; wait for it, or choose another --output"
            ) from None


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a file of this name, which is made if needed; other processes that want to hold it wait.

    File systems without locks hold none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the errors of a full disk or a forbidden place, met while `path` is written, into a UserError."""
    try:
        yield
    except OSError as error:
        reason = f"{path} cannot be written ({error.strerror or error})"
        raise UserError(f"{reason}; make room there or choose another place") from error
