"""The journal becomes two tables: clips that are usable (Parquet), and everything else with its reason (CSV)."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from seedvr2.data.indexing.files import File
from seedvr2.data.indexing.filters import Filters
from seedvr2.data.indexing.journal import Journal
from seedvr2.data.indexing.metadata import Metadata
from seedvr2.data.indexing.probe import Facts, Shot
from seedvr2.data.indexing.rows import SCHEMA, Clip, schema_of
from seedvr2.data.storage import Storage

ROWS_PER_GROUP = 50_000
REJECTED = ("path", "start", "frames", "reason", "detail")


def write_tables(
    output: Path,
    files: Iterable[File],
    journal: Journal,
    *,
    root: Path,
    filters: Filters,
    metadata: Mapping[str, Metadata],
) -> Counter[str]:
    """Write `output` and, beside it, `<stem>.rejected.csv`; counts of clips by reason, "" for the usable ones.

    What is to be decoded of `files` is in the journal; rows keep the order. Both tables appear when they are complete.
    Raises UserError if they cannot be written.
    """
    counts: Counter[str] = Counter()
    seen: dict[tuple[str, str], str] = {}
    folder = Storage(output.parent)
    with (
        folder.whole(output.name) as table,
        folder.whole(rejected_path(output).name) as listed,
        pq.ParquetWriter(table, schema_of(str(root.resolve()))) as writer,
    ):
        text = io.TextIOWrapper(listed, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)
        complaints = csv.writer(text)
        complaints.writerow(REJECTED)
        rows: list[Clip] = []
        for file in files:
            facts = journal.facts(file.name) if file.is_media else Facts("", 0, file.kind, file.detail)
            about = metadata.get(file.name, Metadata())
            for shot, clip, reason, detail in _judged(file.name, file.kind, facts, about, filters, seen):
                counts[reason] += 1
                if clip is not None:
                    rows.append(clip)
                else:
                    place = (shot.start, shot.frames) if shot else ("", "")
                    complaints.writerow([file.name, *place, reason, detail])
            if len(rows) >= ROWS_PER_GROUP:
                _flush(writer, rows)
        _flush(writer, rows)
    return counts


def rejected_path(output: Path) -> Path:
    """Where the clips that `output` leaves out are listed."""
    return output.with_name(f"{output.stem}.rejected.csv")


def _judged(
    name: str, kind: str, facts: Facts, about: Metadata, filters: Filters, seen: dict[tuple[str, str], str]
) -> Iterator[tuple[Shot | None, Clip | None, str, str]]:
    if facts.problem:
        yield None, None, facts.problem, facts.detail
        return
    original = seen.setdefault((facts.content, kind), name)
    if original != name and "duplicate" not in filters.keep:
        yield None, None, "duplicate", f"has the same bytes as {original}"
        return
    for shot in facts.shots:
        complaint = filters.reject(facts, shot, is_still=kind == "image")
        if complaint is None:
            yield shot, _clip(name, kind, facts, shot, about), "", ""
        else:
            yield shot, None, *complaint


def _clip(name: str, kind: str, facts: Facts, shot: Shot, about: Metadata) -> Clip:
    return Clip(
        id=f"{facts.content}-{shot.start}",
        path=name,
        kind=kind,
        start=shot.start,
        pts=shot.pts,
        frames=shot.frames,
        width=shot.width,
        height=shot.height,
        **{key: getattr(facts, key) for key in ("fps", "codec", "pixel_format", "bits", "rotation", "is_interlaced")},
        **{key: getattr(facts, key) for key in ("is_variable", "lacks_times", "repeats_times")},
        **{key: getattr(shot.scores, key) for key in ("sharpness", "motion", "still", "contrast")},
        licence=about.licence,
        tags=list(about.tags),
        caption=about.caption,
        shard="",
        offset=0,
        size=facts.size,
    )


def _flush(writer: pq.ParquetWriter, rows: list[Clip]) -> None:
    if rows:
        writer.write_table(table_of(rows, writer.schema))
        rows.clear()


def table_of(rows: Iterable[Clip], schema: pa.Schema = SCHEMA) -> pa.Table:
    """Clips as an Arrow table."""
    return pa.Table.from_pylist([row._asdict() for row in rows], schema=schema)
