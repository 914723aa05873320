"""What was found so far, one line per file, appended as it is found: an index can be killed at any time and goes on.

A line that a kill left unfinished is cut off when the journal is opened again. Only places of lines are held in memory.
"""

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import NamedTuple, Self

from seedvr2.data.indexing.probe import Facts, Shot
from seedvr2.data.indexing.scores import Scores
from seedvr2.data.listing import frame_files
from seedvr2.errors import UserError
from seedvr2.io.files import lock

VERSION = 2  # raise it when lines or the meaning of scores change: older journals are then started anew


class Stamp(NamedTuple):
    """What tells that a file is the one that was probed."""

    size: int
    modified: int  # nanoseconds

    @classmethod
    def of(cls, path: Path) -> "Stamp":
        """The stamp of a file, or of all frames in a folder; zeros if it is gone."""
        try:
            found = [os.stat(file) for file in (frame_files(path) if path.is_dir() else [path])]
        except OSError:
            return cls(0, 0)
        return cls(sum(file.st_size for file in found), max((file.st_mtime_ns for file in found), default=0))


class Journal:
    """Facts by relative path, kept in a file of JSON lines; a context manager.

    Raises UserError if the file cannot be written, also later when the disk is full, or if another process writes it.
    """

    def __init__(self, path: Path):
        self.path = path
        self._places: dict[str, tuple[int, Stamp]] = {}
        self._files = contextlib.ExitStack()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what could not be written is not tried again on closing.
            self._out = self._files.enter_context(path.open("ab", buffering=0))
            self._in = self._files.enter_context(path.open("rb"))
            lock(self._out, path)
            self._load()
        except OSError as error:
            raise _unwritable(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing is lost without it."""
        self._files.close()

    def __contains__(self, key: tuple[str, Stamp]) -> bool:
        name, stamp = key
        return self._places.get(name, (0, None))[1] == stamp

    def add(self, name: str, stamp: Stamp, facts: Facts) -> None:
        """Note the facts of a file; they are in the hands of the operating system when this returns."""
        line = json.dumps([name, *stamp, facts], ensure_ascii=True).encode() + b"\n"
        place = self._end
        self._write(line)
        self._places[name] = (place, stamp)

    def facts(self, name: str) -> Facts:
        """The facts of a file that is in the journal."""
        self._in.seek(self._places[name][0])
        return _facts(json.loads(self._in.readline())[3])

    def forget_damaged(self) -> None:
        """Leave out files with a problem, so that they are probed again."""
        for name in [name for name in self._places if self.facts(name).problem]:
            del self._places[name]

    def _write(self, line: bytes) -> None:
        try:
            if self._out.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._end += len(line)

    def _load(self) -> None:
        header = json.dumps({"version": VERSION}).encode() + b"\n"
        self._end = 0
        if self._in.readline() != header:
            self._out.truncate(0)
            self._write(header)
            return
        self._end = len(header)
        for line in self._in:
            try:
                name, size, modified, _ = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            self._places[name] = (self._end, Stamp(size, modified))
            self._end += len(line)
        self._out.truncate(self._end)


def _facts(values: list[object]) -> Facts:
    *plain, shots = values
    read = [Shot(*shot, scores=Scores(*scores, bars=tuple(bars))) for *shot, (*scores, bars) in shots]
    return Facts(*plain, shots=tuple(read))


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be written ({error.strerror}); free space or choose another --output")
