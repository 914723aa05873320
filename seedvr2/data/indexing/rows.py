"""One row per usable clip: the columns of an index, and reading them back."""

import json
from pathlib import Path
from typing import NamedTuple

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seedvr2.data.storage import is_url
from seedvr2.errors import UserError

VERSION = 1
_FLOAT, _INT, _TEXT = pa.float32(), pa.int64(), pa.string()


class Clip(NamedTuple):
    """A usable clip: an image, or a run of frames of a video or of a folder of frames, without a cut."""

    id: str  # hash of the file's bytes and the first frame's number
    path: str  # of the file or folder of frames, relative to the root the index was made of
    kind: str  # image, video or frames
    start: int  # number of the first frame
    pts: int | None  # its time stamp in the stream's units; None without
    frames: int
    width: int  # upright pixels
    height: int
    fps: float  # 0 for images and where unknown; the mean where it varies
    codec: str
    pixel_format: str
    bits: int
    rotation: int  # degrees counter-clockwise that the reader applies
    is_interlaced: bool
    is_variable: bool  # varying distances between frames
    lacks_times: bool
    repeats_times: bool
    sharpness: float  # this and the next three: see `Scores`
    motion: float
    still: float
    contrast: float
    licence: str
    tags: list[str]
    caption: str  # path of a caption embedding, empty without
    shard: str  # name of the shard beside the index; empty if the clip is the file `path`
    offset: int  # bytes from the shard's beginning to the member's data
    size: int  # bytes of the member, or of the file


SCHEMA = pa.schema(
    [
        ("id", _TEXT),
        ("path", _TEXT),
        ("kind", pa.dictionary(pa.int8(), _TEXT)),
        ("start", _INT),
        ("pts", _INT),
        ("frames", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("fps", pa.float64()),
        ("codec", _TEXT),
        ("pixel_format", _TEXT),
        ("bits", pa.int8()),
        ("rotation", pa.int16()),
        *((name, pa.bool_()) for name in ("is_interlaced", "is_variable", "lacks_times", "repeats_times")),
        *((name, _FLOAT) for name in ("sharpness", "motion", "still", "contrast")),
        ("licence", _TEXT),
        ("tags", pa.list_(_TEXT)),
        ("caption", _TEXT),
        ("shard", _TEXT),
        ("offset", _INT),
        ("size", _INT),
    ]
)


def schema_of(root: str) -> pa.Schema:
    """The schema with the root that paths are relative to; shards lie beside the index instead."""
    return SCHEMA.with_metadata({"seedvr2.index": json.dumps({"version": VERSION, "root": root})})


class Index:
    """The clips of an index file, by number. `location` is a path or a URL that fsspec understands.

    `root` replaces the folder of the files, which the index remembers. Raises UserError if the file is not an index.
    """

    def __init__(self, location: str | Path, *, root: str | Path | None = None):
        self.location = str(location)
        self.table = _read(self.location)
        try:
            facts = json.loads(self.table.schema.metadata[b"seedvr2.index"])
        except (KeyError, TypeError) as error:
            raise UserError(f"{location} is not an index; make one with python -m seedvr2.data.index") from error
        if facts["version"] != VERSION or self.table.column_names != SCHEMA.names:
            raise UserError(f"{location} is an index of another version ({facts['version']}); make it again")
        self.root = str(root) if root is not None else facts["root"]

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, number: int) -> Clip:
        (row,) = self.table.slice(number, 1).to_pylist()
        return Clip(**row)

    def column(self, name: str) -> np.ndarray:
        """The values of one column over all clips, in order, for grouping without an object per clip."""
        return self.table[name].to_numpy()

    def place(self, clip: Clip) -> str:
        """Path or URL of the file, the folder of frames or the shard that holds a clip."""
        beside, slash, _ = self.location.rpartition("/")
        return f"{beside}{slash}{clip.shard}" if clip.shard else f"{self.root.rstrip('/')}/{clip.path}"


def _read(location: str) -> pa.Table:
    try:
        if not is_url(location):
            return pq.read_table(location, memory_map=True, partitioning=None)
        with fsspec.open(location, "rb") as file:
            return pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{location} cannot be read as an index ({error}); check the path") from error
