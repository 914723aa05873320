"""Licences, tags and caption embeddings of files, which no file tells itself: a CSV or JSON table by relative path."""

import csv
import json
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from seedvr2.errors import UserError

COLUMNS = ("path", "licence", "tags", "caption")


class Metadata(NamedTuple):
    """What people say about a file."""

    licence: str = ""
    tags: tuple[str, ...] = ()
    caption: str = ""  # path of a caption embedding, relative to the root of the data


def read_metadata(path: Path) -> dict[str, Metadata]:
    """Metadata by path relative to the root of the data, with forward slashes.

    CSV: a header with `path` and any of `licence`, `tags` (separated by ;) and `caption`. JSON: an object of objects
    with the same keys, `tags` a list. Raises UserError if the file cannot be read, or for an unknown key.
    """
    try:
        if path.suffix.lower() == ".json":
            table = json.loads(path.read_text(encoding="utf-8"))
            rows = [{"path": name, **row} for name, row in table.items()]
        elif path.suffix.lower() == ".csv":
            with open(path, newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
        else:
            raise UserError(f"{path} is neither .csv nor .json; give one of them as metadata")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, AttributeError, TypeError) as error:
        raise UserError(f"{path} cannot be read as a table of metadata ({error}); check the file") from error
    return dict(_entry(path, row) for row in rows)


def _entry(path: Path, row: dict[str, object]) -> tuple[str, Metadata]:
    unknown = [key for key in row if key not in COLUMNS]
    if unknown or not row.get("path"):
        wrong = f"an unknown column {unknown[0]!r}" if unknown else "a row without path"
        raise UserError(f"{path} has {wrong}; its columns are {', '.join(COLUMNS)}")
    tags = row.get("tags") or ()
    tags = tags.split(";") if isinstance(tags, str) else tags
    kept = tuple(tag for tag in (str(tag).strip() for tag in tags) if tag)
    licence, caption = (str(row.get(key) or "") for key in ("licence", "caption"))
    plain = str(PurePosixPath(caption)) if caption else ""
    return str(PurePosixPath(str(row["path"]))), Metadata(licence, kept, plain)
