"""What is finished of an output, in a folder beside it: the same command goes on where a run was killed.

The folder holds the finished segments and `journal.json`, which names them; a segment counts once it is in there. Its
lock is held by the run that writes it.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from seedvr2.errors import UserError
from seedvr2.io.files import lock, remove, whole

FILE, LOCK = "journal.json", "lock"
HEAD = 1 << 20  # bytes of an input that tell it from others, with its size and time


class Journal:
    """The journal of one output. Raises UserError if another run writes it, or one with other settings is unfinished.

    key: everything that the frames depend on, JSON-able. fresh: begin anew, whatever lies there. `frames`: how many are
    finished. `shots`: numbers of the frames that begin shots, as far as they are known. `state`: what the caller wants
    to know again when it goes on.
    """

    def __init__(self, output: Path, key: Mapping, *, fresh: bool = False):
        self.folder = work_folder(output)
        self._path, self._files = self.folder / FILE, contextlib.ExitStack()
        try:
            self._hold(output)
            self._facts = {"key": json.loads(json.dumps(key)), "segments": [], "frames": 0, "shots": [0], "state": None}
            if not fresh:
                self._go_on(output)
            self._clean()
        except BaseException:
            self._files.close()
            raise

    @property
    def segments(self) -> list[str]:
        """Names of the finished segments, in order."""
        return list(self._facts["segments"])

    @property
    def frames(self) -> int:
        """Number of finished frames."""
        return self._facts["frames"]

    @property
    def shots(self) -> list[int]:
        """Frames that begin shots, among the finished ones."""
        return list(self._facts["shots"])

    @property
    def state(self) -> object:
        """What the caller gave with the newest segment."""
        return self._facts["state"]

    def path(self, name: str) -> Path:
        """Where a segment goes."""
        return self.folder / name

    def add(self, name: str, frames: int, *, shots: Sequence[int], state: object) -> None:
        """Note that a segment is finished, with which there are `frames` frames. Raises UserError for a full disk."""
        self._facts = {
            **self._facts,
            "segments": [*self.segments, name],
            "frames": frames,
            "shots": list(shots),
            "state": state,
        }
        self._write()

    def leave(self) -> None:
        """Keep what is finished for the next run, if it was not removed; if nothing is, keep nothing."""
        self._files.close()
        if not self.frames:
            self.remove()

    def remove(self) -> None:
        """Forget everything: the output is complete."""
        self._files.close()
        remove(self.folder)

    def _hold(self, output: Path) -> None:
        try:
            self.folder.mkdir(exist_ok=True)
            file = self._files.enter_context((self.folder / LOCK).open("w"))
        except OSError as error:
            raise self._unwritable(error) from error
        lock(file, output)

    def _go_on(self, output: Path) -> None:
        try:
            found, key = json.loads(self._path.read_text()), self._facts["key"]
        except FileNotFoundError:
            return
        except ValueError:
            return  # it is written whole, so this is no journal of ours
        if found["key"] != key:
            changed = sorted(name for name in key if found["key"].get(name) != key[name])
            raise UserError(
                f"an unfinished run of {output} lies in {self.folder.name}, with another {changed[0]}; repeat its "
                "command to go on, or use --overwrite to begin anew"
            )
        self._facts = found

    def _clean(self) -> None:
        # What a kill left of the segment it interrupted; all of it when nothing is kept.
        kept = (LOCK, *[FILE] * bool(self.segments), *self.segments)
        try:
            for path in self.folder.iterdir():
                if not path.name.startswith(kept):
                    remove(path)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"{self.folder} cannot be written ({error.strerror}); choose another --output")

    def _write(self) -> None:
        try:
            with whole(self._path) as temporary:
                temporary.write_text(json.dumps(self._facts))
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"{self._path} cannot be written ({error.strerror}); make room and run again") from error


def is_unfinished(output: Path) -> bool:
    """Whether an unfinished run of an output lies beside it."""
    return (work_folder(output) / FILE).is_file()


def unfinished_window(output: Path) -> int | None:
    """The window of an unfinished run in latent frames, None if there is no such run or it has none."""
    try:
        return json.loads((work_folder(output) / FILE).read_text())["key"]["model"]["window"]
    except (OSError, ValueError, KeyError):
        return None


def work_folder(output: Path) -> Path:
    """Where what is finished of an output lies."""
    return output.with_name(f".{output.name}.work")


def identity_of(path: Path) -> dict[str, object]:
    """What tells an input from others without reading all of it; of a folder, of all its files."""
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    digest, size = hashlib.sha256(), 0
    for file in files:
        status = file.stat()
        size += status.st_size
        digest.update(os.fsencode(f"{file.name} {status.st_size} {status.st_mtime_ns}"))
    if not path.is_dir():
        with open(path, "rb") as file:
            digest.update(file.read(HEAD))
    return {"bytes": size, "identity": digest.hexdigest()[:32]}


def hash_of(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of the files in a folder."""
    digest = hashlib.sha256()
    for file in sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]:
        if path.is_dir():
            digest.update(os.fsencode(file.name) + b"\0")
        with open(file, "rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
