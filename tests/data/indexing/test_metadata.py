"""Metadata say the same in CSV and JSON, and mistakes in them are named."""

import json

import pytest

from seedvr2.data.indexing.metadata import Metadata, read_metadata
from seedvr2.errors import UserError

EXPECTED = {
    "a/ünï, 1.mp4": Metadata("CC-BY-4.0", ("city", "night"), "captions/1.pt"),
    "b.png": Metadata("", (), ""),
}


def test_csv_and_json_say_the_same(tmp_path):
    table, text = tmp_path / "m.csv", tmp_path / "m.json"
    table.write_text(
        '\ufeffpath,licence,tags,caption\n"./a/ünï, 1.mp4",CC-BY-4.0,city; night,./captions/1.pt\nb.png,,,\n',
        encoding="utf-8",
    )
    one = {"licence": "CC-BY-4.0", "tags": ["city", "night"], "caption": "captions/1.pt"}
    text.write_text(json.dumps({"a/ünï, 1.mp4": one, "b.png": {}}))
    assert read_metadata(table) == read_metadata(text) == EXPECTED


def test_columns_may_be_missing(tmp_path):
    (tmp_path / "m.csv").write_text("licence,path\nMIT,a.png\n")
    assert read_metadata(tmp_path / "m.csv") == {"a.png": Metadata("MIT")}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", "path,license\na.png,MIT\n", "unknown column 'license'"),
        ("m.csv", "licence\nMIT\n", "row without path"),
        ("m.csv", "path,licence\na.png,MIT,more\n", "unknown column None"),
        ("m.json", '{"a.png": {"license": 1}}', "unknown column 'license'"),
        ("m.json", "[1, 2]", "cannot be read"),
        ("m.json", '{"a.png"', "cannot be read"),
        ("m.txt", "", "neither .csv nor .json"),
        ("absent.csv", None, "cannot be read"),
    ],
)
def test_mistakes_are_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_metadata(tmp_path / name)
