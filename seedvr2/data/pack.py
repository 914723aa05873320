"""Pack an index's files into tar shards: `python -m seedvr2.data.pack index.parquet --output DIR --shard-size 1G`.

A shard is a plain tar file with WebDataset names (`<id>.<suffix>`); the index written beside the shards has each
clip's shard, offset and size. Shards depend on the index alone, so a killed run goes on where it stopped.
"""

import hashlib
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import pyarrow.parquet as pq

from seedvr2.data.indexing.probe import content_hash
from seedvr2.data.indexing.progress import Progress
from seedvr2.data.indexing.rows import Clip, Index, schema_of
from seedvr2.data.indexing.table import ROWS_PER_GROUP, table_of
from seedvr2.data.listing import frame_files
from seedvr2.data.storage import Storage, is_url
from seedvr2.errors import Parser, UserError, main_guard, orderly_termination

BLOCK = 512  # bytes; a tar header, and the multiple that data are padded to
END = b"\0" * 2 * BLOCK
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
COPY = 1 << 20


class Member(NamedTuple):
    """A file or folder of frames on its way into a shard."""

    path: str  # as in the index
    name: str  # inside the shard, without suffix: the hash of the content
    kind: str
    size: int  # bytes of data


class Place(NamedTuple):
    """Where a member lies."""

    shard: str
    offset: int
    size: int


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; mistakes of the user end with one sentence on stderr and exit code 2."""
    with main_guard("seedvr2.data.pack"), orderly_termination():
        arguments = parser().parse_args(argv)
        index = Index(arguments.index, root=arguments.root)
        shards = pack(index, arguments.output, shard_size=parse_size(arguments.shard_size))
        print(f"{len(index)} clips in {shards} shards, index in {arguments.output.rstrip('/')}/index.parquet")


def parser() -> Parser:
    """The command line's arguments."""
    result = Parser(prog="python -m seedvr2.data.pack", description=__doc__.split("\n")[0])
    add = result.add_argument
    add("index", help="made by python -m seedvr2.data.index")
    add("--output", required=True, help="folder or fsspec URL (s3://bucket/data) of the shards and their index")
    add("--shard-size", default="1G", help="bytes of a shard at most, with K, M, G or T (default 1G)")
    add("--root", help="folder of the files, if they moved since they were indexed")
    return result


def parse_size(text: str) -> int:
    """Bytes of 500M or 1.5G; raises UserError for anything else and for less than 1K."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", text.strip(), re.IGNORECASE)
    size = int(float(match[1]) * UNITS[match[2].upper()]) if match else 0
    if size < UNITS["K"]:
        raise UserError(f"--shard-size is {text!r}; give a size like 500M or 1G")
    return size


def pack(index: Index, output: str, *, shard_size: int) -> int:
    """Write the shards and `index.parquet` below `output`, a folder or URL; returns the number of shards.

    Each file is stored once, in the order of the index, however many clips it holds. Shards that are there are not
    written again; each appears when it is complete. Raises UserError if a file changed since it was indexed, and if
    the output cannot be written or holds the index of the files.
    """
    if (index.column("shard") != "").any():
        raise UserError(f"{index.location} is packed already; give the index of the files")
    storage = Storage(output)
    if _is_same(f"{storage.location}/index.parquet", index.location):
        raise UserError(f"the packed index would replace {index.location}; choose another --output")
    plan = list(_plan(_members(index), shard_size))
    places: dict[str, Place] = {}
    with Progress(sum(len(members) for members in plan)) as progress:
        for number, members in enumerate(plan):
            name = f"shard-{number:06}-{_fingerprint(members)}.tar"
            places |= _shard(storage, name, members, Path(index.root), progress)
    with storage.whole("index.parquet") as file:
        _write_index(file, index, places)
    return len(plan)


def _is_same(one: str, other: str) -> bool:
    if is_url(one) or is_url(other):
        return one == other
    return Path(one).resolve() == Path(other).resolve()


def _members(index: Index) -> Iterator[Member]:
    last = None
    columns = (index.column(name) for name in ("path", "id", "kind", "size"))
    for path, id_, kind, size in zip(*columns, strict=True):
        if path != last:  # the clips of a file are neighbours
            yield Member(path, id_.rpartition("-")[0], kind, int(size))
            last = path


def _plan(members: Iterable[Member], limit: int) -> Iterator[list[Member]]:
    shard: list[Member] = []
    total, names = len(END), set()
    for member in members:
        size = 2 * BLOCK + member.size  # header, data and padding; frames have more headers, which may add a little
        if shard and (total + size > limit or member.name in names):
            yield shard
            shard, total, names = [], len(END), set()
        shard.append(member)
        names.add(member.name)
        total += size
    if shard:
        yield shard


def _fingerprint(members: Iterable[Member]) -> str:
    return hashlib.blake2b("\n".join(map(repr, members)).encode(), digest_size=4).hexdigest()


def _shard(storage: Storage, name: str, members: Sequence[Member], root: Path, progress: Progress) -> dict[str, Place]:
    entries = [(member, _entries(member, root)) for member in members]
    there = storage.size(name)
    if there is not None:
        places, end = _layout(name, entries)
        if there != end:
            raise UserError(f"{name} below {storage.location} is not complete; delete it and run the command again")
        for member in members:
            progress.step(f"{member.path} is there")
        return places
    with storage.whole(name) as file:
        for member, parts in entries:
            digest = content_hash()
            for header, path, size in parts:
                file.write(header)
                for block in _blocks(path, size):
                    digest.update(block)
                    file.write(block)
                file.write(b"\0" * (-size % BLOCK))
            if digest.hexdigest() != member.name:
                raise _changed(root / member.path)
            progress.step(name)
        file.write(END)
    return _layout(name, entries)[0]


def _entries(member: Member, root: Path) -> list[tuple[bytes, Path, int]]:
    # Header, file and size of every tar member; frames keep their names inside a folder of the clip's name.
    path = root / member.path
    try:
        if member.kind == "frames":
            files = [(file, f"{member.name}/{file.name}") for file in frame_files(path)]
        else:
            files = [(path, f"{member.name}{path.suffix.lower()}")]
        sizes = [file.stat().st_size for file, _ in files]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); index the folder again") from error
    if sum(sizes) != member.size:
        raise _changed(path)
    return [(_header(name, size), file, size) for (file, name), size in zip(files, sizes, strict=True)]


def _header(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")  # owner 0, time 0: equal on every machine


def _layout(name: str, entries: Iterable[tuple[Member, list]]) -> tuple[dict[str, Place], int]:
    # The place of a single file is its data; that of frames is the run of their tar members, a tar file of its own.
    places, at = {}, 0
    for member, parts in entries:
        start = at
        for header, _, size in parts:
            at += len(header) + -(-size // BLOCK) * BLOCK
        if member.kind == "frames":
            places[member.path] = Place(name, start, at - start)
        else:
            places[member.path] = Place(name, start + len(parts[0][0]), member.size)
    return places, at + len(END)


def _blocks(path: Path, size: int) -> Iterator[bytes]:
    left = size
    try:
        with open(path, "rb") as source:
            while left and (block := source.read(min(COPY, left))):
                left -= len(block)
                yield block
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); index the folder again") from error
    if left:
        raise _changed(path)


def _changed(path: Path) -> UserError:
    return UserError(f"{path} changed since it was indexed; index the folder again")


def _write_index(file: IO[bytes], index: Index, places: dict[str, Place]) -> None:
    schema = schema_of(index.root)  # where captions still lie
    with pq.ParquetWriter(file, schema) as writer:
        for start in range(0, len(index), ROWS_PER_GROUP):
            rows = index.table.slice(start, ROWS_PER_GROUP).to_pylist()
            packed = [Clip(**row | places[row["path"]]._asdict()) for row in rows]
            writer.write_table(table_of(packed, schema))


if __name__ == "__main__":
    main()
