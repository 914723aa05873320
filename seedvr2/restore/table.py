"""The table of models by name: `configs/models.yaml`, and a file of the user's own that adds to it.

A table holds names, numbers and file names; nothing in it is ever called, and unknown keys are errors.
"""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from seedvr2 import config
from seedvr2.errors import UserError
from seedvr2.models.identity import FAMILIES
from seedvr2.restore.shot import COLOR_FIXES

FILE = "models.yaml"
VARIABLE = "SEEDVR2_MODELS"
ASSETS = Path(__file__).resolve().parents[1] / "assets"  # where the folders of bundled models lie
ROLES = ("generator", "vae", "positive", "negative")
SUFFIXES = (".pth", ".pt", ".safetensors")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository. sha256: what it must be, if that is known."""

    repository: str
    revision: str
    name: str
    sha256: str | None = None


@dataclass(frozen=True)
class Entry:
    """A model by name: either a folder, or released files; `configs/models.yaml` explains the fields."""

    name: str
    folder: Path | None = None
    files: Mapping[str, HubFile] | None = None
    family: str | None = None
    steps: int = 1
    multi_step: bool = False
    cfg: float = 1.0
    condition_noise: float = 0.0
    color_fix: str | None = None
    window: int | None = None
    fidelity: float | None = None


KEYS = {field.name for field in fields(Entry)} - {"name"} | {"repository", "revision"}
NEEDED = ("repository", "files", "family")
BESIDE_FOLDER = {"folder", "color_fix", "window", "fidelity"}


def read_table(extra: Path | None = None) -> dict[str, Entry]:
    """All models by name; `extra`, else $SEEDVR2_MODELS, names a file that adds to them or changes them.

    Raises UserError for a file that cannot be read or holds anything that is not understood.
    """
    table = _read(config.folder() / FILE, ASSETS)
    named = extra or os.environ.get(VARIABLE)
    if named:
        own = _read(Path(named), Path(named).resolve().parent)
        table = {name: _merged(table.get(name), own.get(name)) for name in {**table, **own}}
    return {name: _entry(name, values, where) for name, (values, where) in table.items()}


def _read(path: Path, folders: Path) -> dict[str, tuple[dict, Path]]:
    """Values by model name, each with the file that gave them; folders become absolute."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"the table of models {path} cannot be read ({reason}); correct the file") from error
    if not _is_table(found) or not all(map(_is_table, found.values())):
        raise UserError(f"the table of models {path} is not understood; give names, each with keys and values")
    for name, values in found.items():
        if unknown := sorted(set(values) - KEYS):
            close = difflib.get_close_matches(unknown[0], KEYS, n=1)
            advice = f"did you mean {close[0]!r}?" if close else f"use {', '.join(sorted(KEYS))}"
            raise UserError(f"{path}: {name} has an unknown key {unknown[0]!r}; {advice}")
        if isinstance(values.get("folder"), str):
            values["folder"] = folders / Path(values["folder"]).expanduser()
    return {name: (values, path) for name, values in found.items()}


def _merged(base: tuple[dict, Path] | None, own: tuple[dict, Path] | None) -> tuple[dict, Path]:
    if base is None or own is None:
        return own or base
    values, where = own
    is_folder = "folder" in base[0]
    if not is_folder and _is_table(values.get("files")):  # single files are replaced
        values = {**values, "files": {**base[0]["files"], **values["files"]}}
    is_other = "folder" in values if not is_folder else not set(values).isdisjoint(NEEDED)
    return (values if is_other else {**base[0], **values}), where


def _entry(name: str, values: dict, where: Path) -> Entry:
    def wrong(key: str, wanted: str) -> UserError:
        return UserError(f"{where}: {name} has {key} {values.get(key)!r}; {wanted}")

    checks = {
        "repository": (lambda v: isinstance(v, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", v), "write OWNER/NAME"),
        "revision": (lambda v: isinstance(v, str) and v, "write a branch, tag or commit, in quotes if it is a number"),
        "family": (lambda v: v in FAMILIES, f"use {' or '.join(FAMILIES)}"),
        "steps": (lambda v: _is_number(v, int) and v >= 1, "give a whole number of at least 1"),
        "multi_step": (lambda v: isinstance(v, bool), "use true or false"),
        "cfg": (lambda v: _is_number(v) and v >= 0, "give a number of at least 0, 1 for no guidance"),
        "condition_noise": (lambda v: _is_number(v) and 0 <= v <= 1, "give a share from 0 to 1"),
        "color_fix": (lambda v: isinstance(v, str) and v in COLOR_FIXES, f"use one of {', '.join(COLOR_FIXES)}"),
        "window": (lambda v: _is_number(v, int) and v >= 1 and v % 4 == 1, "give 4k + 1 frames"),
        "folder": (lambda v: isinstance(v, Path), "write a path"),
        "fidelity": (lambda v: _is_number(v) and 0 <= v <= 1, "give a number from 0 (vivid) to 1 (faithful)"),
        "files": (_is_table, f"name the files of {', '.join(ROLES)}"),
    }
    for key in values:
        is_right, wanted = checks[key]
        if not is_right(values[key]):
            raise wrong(key, wanted)
    if "folder" in values:
        if beside := sorted(set(values) - BESIDE_FOLDER):
            raise wrong(beside[0], "an entry with a folder has no such key")
        return Entry(name, **values)
    if "fidelity" in values:
        raise wrong("fidelity", "only a folder with two generators has one")
    if missing := [key for key in NEEDED if key not in values]:
        raise UserError(f"{where}: {name} lacks {missing[0]!r}; give {', '.join(NEEDED)}, or a folder")
    if values.get("cfg", 1) != 1 and not values.get("multi_step", False):
        raise wrong("cfg", "guidance needs multi_step: true")
    origin = values["repository"], values.get("revision", "main")
    files = {role: _file(role, given, origin, f"{where}: {name}") for role, given in values["files"].items()}
    needed = ROLES if values.get("multi_step", False) else ROLES[:3]
    if absent := [role for role in needed if role not in files]:
        raise UserError(f"{where}: {name} names no file of its {absent[0]}; add it to files")
    rest = {key: value for key, value in values.items() if key not in ("repository", "revision", "files")}
    return Entry(name, files=files, **rest)


def _file(role: str, given: object, origin: tuple[str, str], where: str) -> HubFile:
    if role not in ROLES:
        raise UserError(f"{where} has files of an unknown kind {role!r}; use {', '.join(ROLES)}")
    given = {"name": given} if isinstance(given, str) else given
    if not (_is_table(given) and "name" in given and set(given) <= {"name", "sha256"}):
        raise UserError(
            f"{where} does not name its {role} file; write {role}: NAME or {role}: {{name: ..., sha256: ...}}"
        )
    name, sha256 = given["name"], given.get("sha256")
    is_plain = isinstance(name, str) and re.fullmatch(r"[\w.-]+(/[\w.-]+)*", name) and ".." not in name.split("/")
    if not (is_plain and name.endswith(SUFFIXES)):
        raise UserError(
            f"{where} has the {role} file {name!r}; give a name inside the repository, {', '.join(SUFFIXES)}"
        )
    if sha256 is not None and not (isinstance(sha256, str) and re.fullmatch(r"[0-9a-f]{64}", sha256)):
        raise UserError(f"{where} has the {role} sha256 {sha256!r}; write 64 hexadecimal digits, or leave it out")
    return HubFile(*origin, name, sha256)


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _is_number(value: object, kind: type | tuple[type, ...] = (int, float)) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
