"""Clips as open files, wherever they lie: in a folder, inside a tar shard, on a disk or behind a URL.

A shard is a plain tar file. Its members are read by offset, so nothing is unpacked and nothing of the shard is read
besides the member.
"""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

from seedvr2.data.indexing.rows import Clip, Index
from seedvr2.data.listing import frame_files
from seedvr2.data.storage import file_system, is_url
from seedvr2.errors import UserError

BUFFER, REMOTE_BUFFER = 2**18, 2**22  # bytes; demuxers read small pieces
ONE_REQUEST = 2**26  # bytes of a remote member that come at once


class _Range(io.RawIOBase):
    """The bytes [offset, offset+size) of something larger as a seekable file; `read_at(place, count)` gets them."""

    def __init__(self, read_at: Callable[[int, int], bytes], offset: int, size: int, *, close: Callable[[], None]):
        self._read_at, self._close = read_at, close
        self._offset, self._size, self._at = offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, to: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, to + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: memoryview) -> int:
        count = max(0, min(len(buffer), self._size - self._at))
        data = self._read_at(self._offset + self._at, count) if count else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._close()
        super().close()


def open_member(shard: str | Path, offset: int, size: int) -> IO[bytes]:
    """The bytes [offset, offset+size) of a shard as a seekable binary file, which PyAV and Pillow can open.

    `shard` is a path or a URL that fsspec understands. Of a local shard only what is asked for is read; of a remote
    one a member of up to 64 MiB comes in one request, a larger one in pieces. Raises UserError if the shard is missing
    or ends before the member does.
    """
    shard = str(shard)
    try:
        return _remote_member(shard, offset, size) if is_url(shard) else _local_member(shard, offset, size)
    except OSError as error:
        raise UserError(f"{shard} cannot be read ({error}); check the path") from error


def _local_member(shard: str, offset: int, size: int) -> IO[bytes]:
    file = os.open(shard, os.O_RDONLY)
    if os.fstat(file).st_size < offset + size:
        os.close(file)
        raise _ends_early(shard, offset + size)
    member = _Range(lambda at, count: os.pread(file, count, at), offset, size, close=lambda: os.close(file))
    return io.BufferedReader(member, BUFFER)


def _remote_member(shard: str, offset: int, size: int) -> IO[bytes]:
    files, path = file_system(shard)
    if size > ONE_REQUEST:
        if files.size(path) < offset + size:
            raise _ends_early(shard, offset + size)
        member = _Range(
            lambda at, count: files.cat_file(path, start=at, end=at + count), offset, size, close=lambda: None
        )
        return io.BufferedReader(member, REMOTE_BUFFER)
    data = files.cat_file(path, start=offset, end=offset + size)
    if len(data) < size:
        raise _ends_early(shard, offset + size)
    return io.BytesIO(data)


def _ends_early(shard: str, wanted: int) -> UserError:
    return UserError(f"{shard} ends before byte {wanted}; copy or pack it again")


def open_clip(index: Index, clip: Clip) -> list[tuple[str, IO[bytes]]]:
    """The file that holds a clip, as [(name, open file)]; of a folder of frames only the clip's frames, in order.

    The name ends in the suffix of the original, which tells images from videos. The caller closes the files. Raises
    UserError for missing and truncated files.
    """
    place = index.place(clip)
    if clip.kind != "frames":
        return [(PurePosixPath(clip.path).name, open_member(place, clip.offset, clip.size))]
    wanted = slice(clip.start, clip.start + clip.frames)
    if not clip.shard:
        files = frame_files(Path(place))[wanted]
        return [(file.name, open_member(file, 0, file.stat().st_size)) for file in files]
    with open_member(place, clip.offset, clip.size) as run, tarfile.open(fileobj=run, mode="r:") as members:
        entries = members.getmembers()[wanted]  # they were packed in order
        return [(PurePosixPath(entry.name).name, io.BytesIO(members.extractfile(entry).read())) for entry in entries]
