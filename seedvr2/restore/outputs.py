"""Which output an input gets: names, endings, a mirrored tree for many, and what may not be written over."""

import json
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from seedvr2.errors import UserError
from seedvr2.io.codecs import VIDEO_SUFFIXES
from seedvr2.io.media import MediaInfo, find_media, is_still
from seedvr2.io.sequences import check_replaceable
from seedvr2.io.writer import check_writable
from seedvr2.restore.resize import Size

MARK = "_restored"


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
        name = self.source.name if info.kind == "frames" else self.source.stem
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


def pairs(inputs: Sequence[str], output: Path | None) -> list[Pair]:
    """Inputs (files, folders, globs) with their outputs.

    A single input goes to `output`, a file or (without an ending) a folder of pictures. Several go into the folder
    `output` as they lie below their common folder; without it each goes beside its source. What earlier runs made of
    them is no input, unless it is named itself. Raises UserError if nothing is found, or two would get one name.
    """
    found = list(dict.fromkeys(path for pattern in inputs for path in find_media(pattern)))
    named = set(map(Path, inputs))
    made = {path.with_name(name) for path in found for name in names_made(path)}
    into = None if output is None or any(is_below(Path(given), output) for given in inputs) else output
    found = [path for path in found if path in named or not (path in made or account_of(path) or is_below(path, into))]
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
    seen: dict[tuple[Path, str, str], Path] = {}
    for path, _, folder in result:
        kind = "folder" if path.is_dir() else "picture" if is_still(path) else "film"
        name = path.name if path.is_dir() else path.stem
        twin = seen.setdefault((folder or path.parent, name, kind), path)
        if twin != path:
            raise UserError(f"{twin} and {path} would both become a {kind} named {name}; rename one")
    return result


def names_made(source: Path) -> set[str]:
    """Names that outputs of an input get beside it when none is given, unfinished ones and side-by-sides too."""
    name = source.name if source.is_dir() else source.stem
    endings = [""] if source.is_dir() else [".png"] if is_still(source) else VIDEO_SUFFIXES
    stems = [f"{name}{MARK}{more}" for more in ("", ".partial", "_compare", "_compare.partial")]
    return {f"{stem}{ending}" for stem in stems for ending in endings}


def is_below(path: Path, folder: Path | None) -> bool:
    """Whether a path lies in a folder."""
    return folder is not None and path.absolute().is_relative_to(folder.absolute())


def account_of(path: Path) -> dict | None:
    """What is said of an output beside it, None if it is none."""
    try:
        account = json.loads(sidecar_path(path).read_text(encoding="utf-8"))
        return account if account["output"]["name"] == path.name else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_finished(source: Path, output: Path) -> bool:
    """Whether an output is there, is complete, and was made of an input of this name."""
    account = account_of(output) if output.exists() else None
    return account is not None and account.get("input", {}).get("name") == source.name


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
