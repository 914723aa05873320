"""Which output an input gets: names, endings, a mirrored tree for many, and what may not be written over."""

import json
import logging
import os
from collections.abc import Collection, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from seedvr2.errors import UserError
from seedvr2.io.codecs import VIDEO_SUFFIXES
from seedvr2.io.media import MediaInfo, find_media, is_still
from seedvr2.io.sequences import check_replaceable
from seedvr2.io.stills import still_header
from seedvr2.io.writer import check_writable
from seedvr2.restore.resize import Size

MARK = "_restored"

_log = logging.getLogger(__name__)


class Pair(NamedTuple):
    """An input and its output: as it was given, or a folder and a name whose ending the input decides."""

    source: Path
    output: Path | None
    folder: Path | None = None

    def path(self, info: MediaInfo, *, container: str | None) -> Path:
        """The output of an opened input.

        container: ending of films that were not named, None for what suits.
        """
        if self.output is not None:
            return self.output
        name = stem_of(self.source)
        usual = {"frames": "", "image": ".png"}.get(info.kind, ".mov" if info.has_alpha else ".mp4")
        ending = usual if container is None or info.kind == "image" else container
        if self.folder is None:
            return self.source.with_name(f"{name}{MARK}{ending}")
        return self.folder / f"{name}{ending}"

    def make_folder(self) -> None:
        """Make the output's folder if it is one of several. Raises UserError if it cannot be."""
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the folder {self.folder} cannot be made ({error.strerror}); choose another") from error


def pairs(inputs: Sequence[str], output: Path | None, *, container: str | None = None) -> list[Pair]:
    """Inputs (files, folders, globs) with their outputs.

    A single input goes to `output`, a file or (without an ending) a folder of pictures. Several go into the folder
    `output` as they lie below their common folder; without it each goes beside its source. What earlier runs made of
    them is no input, unless it is named itself. container: see `Pair.path`. Raises UserError if nothing is found, or
    two would get one name.
    """
    if output is not None and not output.name:
        raise UserError(f"--output {output} has no name of its own; give a file, or a folder by its name")
    if empty := [pattern for pattern in inputs if not pattern]:
        raise UserError(f"--input {empty[0]!r} is empty; give a file, a folder or a pattern")
    every = list(dict.fromkeys(path for pattern in inputs for path in find_media(pattern)))
    found = without_outputs(every, set(map(Path, inputs)), output)
    if left := len(every) - len(found):
        _log.warning("%d files among the inputs are outputs of earlier runs: left out", left)
    if not found:
        raise UserError(f"{' '.join(inputs)} holds only what was restored already; give the inputs")
    several = len(found) > 1 or found != [Path(inputs[0])]
    if not several or output is None:
        result = [Pair(path, output) for path in found]
    else:
        if output.suffix and not output.is_dir():
            raise UserError(f"--output {output} is one name for {len(found)} inputs; give a folder")
        common = Path(os.path.commonpath([path.absolute().parent for path in found]))
        result = [Pair(path, None, output / path.absolute().parent.relative_to(common)) for path in found]
    seen: dict[tuple[Path, str], list[Path]] = {}
    for path, _, folder in result:
        seen.setdefault((folder or path.parent, stem_of(path)), []).append(path)
    for (folder, stem), twins in seen.items():
        taken: dict[str, Path] = {}
        for path in twins if len(twins) > 1 else ():
            twin = taken.setdefault(kind_made(path, container), path)
            if twin != path:
                raise UserError(f"{twin} and {path} would both become {folder / stem}; rename one")
    return result


def without_outputs(found: Sequence[Path], named: Collection[Path], output: Path | None) -> list[Path]:
    """Those of the found paths that are named themselves, or that no earlier run made of another one."""
    made: set[Path] = set()
    if output is None:
        made = {path.with_name(name) for path in found for name in names_made(path)}
    elif any(is_below(path, output) for path in named):
        output = None  # they lie where they go
    names = {path.name for path in found}

    def is_made(path: Path) -> bool:
        account = account_of(path)
        is_of_these = account is not None and account["input"]["name"] in names - {path.name}
        return path in made or is_of_these or is_below(path, output)

    return [path for path in found if path in named or not is_made(path)]


def stem_of(source: Path) -> str:
    """The name of an output, without its ending."""
    return source.name if source.is_dir() else source.stem


def kind_made(source: Path, container: str | None) -> str:
    """What an input becomes: a folder of pictures, a picture, or a film."""
    if source.is_dir():
        return "folder" if container is None else "film"
    try:
        is_picture = is_still(source) and still_header(source).frames == 1
    except UserError:  # it is told when its turn comes
        is_picture = True
    return "picture" if is_picture else "film"


def names_made(source: Path) -> set[str]:
    """Names that outputs of an input get beside it when none is given, unfinished ones and side-by-sides too."""
    endings = [""] if source.is_dir() else [".png"] if is_still(source) else VIDEO_SUFFIXES
    stems = [f"{stem_of(source)}{MARK}{more}" for more in ("", ".partial", "_compare", "_compare.partial")]
    return {f"{stem}{ending}" for stem in stems for ending in endings}


def is_below(path: Path, folder: Path | None) -> bool:
    """Whether a path lies in a folder."""
    return folder is not None and path.absolute().is_relative_to(folder.absolute())


def account_of(path: Path) -> dict | None:
    """What is said of an output beside it, None if it is none."""
    try:
        account = json.loads(sidecar_path(path).read_text(encoding="utf-8"))
        return account if account["output"]["name"] == path.name and account["input"]["name"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_finished(outputs: Sequence[Path], request: str) -> bool:
    """Whether outputs are there, complete, and made by this request; the account lies beside the first."""
    account = account_of(outputs[0]) if all(path.exists() for path in outputs) else None
    return account is not None and account.get("request") == request


def compare_path(output: Path) -> Path:
    """Where the side-by-side of an output goes."""
    return output.with_name(f"{output.stem}_compare{output.suffix}")


def sidecar_path(output: Path) -> Path:
    """Where the account of an output goes."""
    return output.with_name(f"{output.name}.json")


def check_output(source: Path, path: Path, *, overwrite: bool) -> None:
    """Raise UserError if `path` cannot be written, is the input, or is in the way.

    overwrite: whether it may be replaced.
    """
    if path.exists() and path.samefile(source):
        raise UserError(f"{path} is the input; give another --output")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists; give another --output, or --overwrite to replace it")
    if path.is_dir():
        check_replaceable(path)
    else:
        check_writable(path)


def pixel_shape(info: MediaInfo, size: Size) -> Fraction:
    """Width over height of an output pixel: the input's, unless an exact size with another aspect ratio was asked for.

    Then the pixels change their shape and the picture keeps it.
    """
    change = Fraction(info.width * size.height, info.height * size.width)
    is_rounding = abs(change - 1) * min(size) < 2  # even sides alone
    return info.sample_aspect if is_rounding else (info.sample_aspect * change).limit_denominator(1000)
