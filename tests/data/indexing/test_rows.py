"""An index gives back what was written, by clip and by column, from paths and URLs."""

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seedvr2.data.indexing.rows import SCHEMA, Clip, Index, schema_of
from seedvr2.data.indexing.table import table_of
from seedvr2.errors import UserError

CLIP = Clip(
    id="aa-0", path="a/ünï.mp4", kind="video", start=3, pts=1001, frames=9, width=64, height=48, fps=23.976,
    codec="h264", pixel_format="yuv420p", bits=8, rotation=90, is_interlaced=False, is_variable=True,
    lacks_times=False, repeats_times=False, sharpness=1.5, motion=0.25, still=0.5, contrast=40.0, licence="MIT",
    tags=["city", "night"], caption="a.pt", shard="", offset=0, size=2**40,
)  # fmt: skip
CLIPS = [CLIP, CLIP._replace(id="bb-0", kind="image", path="b.png", frames=1, pts=None, tags=[], shard="s.tar")]


def test_columns_are_those_of_a_clip():
    assert tuple(SCHEMA.names) == Clip._fields


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_clips_come_back_as_they_were(tmp_path, scheme):
    place = f"{scheme}{tmp_path}/index.parquet"
    with fsspec.open(place, "wb") as file:
        pq.write_table(table_of(CLIPS, schema_of("/data/")), file)
    index = Index(place)
    assert [index[number] for number in range(len(index))] == CLIPS
    assert index.column("frames").tolist() == [9, 1]
    assert (index.column("kind") == "image").tolist() == [False, True]
    assert index.column("width").dtype == np.int32
    assert index.place(CLIPS[0]) == "/data/a/ünï.mp4"
    assert index.place(CLIPS[1]) == f"{scheme}{tmp_path}/s.tar"
    assert Index(place, root="/moved").place(CLIPS[0]) == "/moved/a/ünï.mp4"


@pytest.mark.parametrize(
    ("location", "shard"), [("i.parquet", "s.tar"), ("/i.parquet", "/s.tar"), ("memory://i", "memory://s.tar")]
)
def test_shards_lie_beside_the_index(location, shard):
    index = Index.__new__(Index)
    index.location = location
    assert index.place(CLIPS[1]) == shard


def test_other_tables_are_refused(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="is not an index"):
        Index(tmp_path / "other.parquet")
    pq.write_table(table_of(CLIPS, schema_of("/")).drop_columns(["pts"]), tmp_path / "old.parquet")
    with pytest.raises(UserError, match="of another version"):
        Index(tmp_path / "old.parquet")
