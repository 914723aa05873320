"""Which output an input gets: names, endings, a mirrored tree for many, and what may not be written over."""

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from seedvr2.errors import UserError
from seedvr2.io.media import MediaInfo, find_media
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
    `output` as they lie below their common folder; without it each goes beside its source. Raises UserError if nothing
    is found, or two would get one name.
    """
    found = list(dict.fromkeys(path for pattern in inputs for path in find_media(pattern)))
    several = len(found) > 1 or found != [Path(inputs[0])]
    if not several or output is None:
        return [Pair(path, output) for path in found]
    if output.suffix and not output.is_dir():
        raise UserError(f"--output {output} is one name for {len(found)} inputs; give a folder")
    common = Path(os.path.commonpath([path.absolute().parent for path in found]))
    result = [Pair(path, None, output / path.absolute().parent.relative_to(common)) for path in found]
    seen: dict[tuple[Path, str], Path] = {}
    for pair in result:
        twin = seen.setdefault((pair.folder, pair.source.stem), pair.source)
        if twin != pair.source:
            raise UserError(f"{twin} and {pair.source} would both become {pair.folder / pair.source.stem}; rename one")
    return result


def compare_path(output: Path) -> Path:
    """Where the side-by-side of an output goes."""
    return output.with_name(f"{output.stem}_compare{output.suffix}")


def sidecar_path(output: Path) -> Path:
    """Where the account of an output goes."""
    return output.with_name(f"{output.name}.json")


def check_output(source: Path, path: Path, *, overwrite: bool) -> None:
    """Raise UserError if `path` cannot be written, is the input, or is in the way."""
    if path.exists() and path.samefile(source):
        raise UserError(f"{path} is the input; give another --output")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists; give another --output, or --overwrite to replace it")
    if not path.is_dir():
        check_writable(path)


def pixel_shape(info: MediaInfo, size: Size) -> Fraction:
    """Width over height of an output pixel: the input's, unless an exact size with another aspect ratio was asked for.

    Then the pixels change their shape and the picture keeps it.
    """
    change = Fraction(info.width * size.height, info.height * size.width)
    is_rounding = abs(change - 1) * min(size) < 2  # even sides alone
    return info.sample_aspect if is_rounding else (info.sample_aspect * change).limit_denominator(1000)
