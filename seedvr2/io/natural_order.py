"""The order in which people number files: 2 before 10; and the folders whose pictures are numbered frames."""

import re
from pathlib import Path

from seedvr2.io.stills import is_still

NUMBER = re.compile(r"(\d+)")


def natural_key(name: str | Path) -> tuple:
    """A sorting key of a name or path that compares numbers as numbers, then the name as it is."""
    parts = NUMBER.split(str(name))
    return (*((0, int(part)) if index % 2 else (1, part.lower()) for index, part in enumerate(parts)), (2, str(name)))


def numbered_frames(folder: Path) -> list[Path]:
    """The pictures of a folder in natural order if their names differ in numbers only, else none.

    At least two, and all of one suffix. Hidden files and files that are no pictures are ignored.
    """
    pictures = [path for path in folder.iterdir() if is_still(path) and is_visible(path) and path.is_file()]
    shapes = {NUMBER.sub("0", path.name.lower()) for path in pictures}
    numbers = {numbers_in(path.stem) for path in pictures}
    if len(pictures) < 2 or len(shapes) > 1 or len(numbers) < len(pictures):
        return []
    return sorted(pictures, key=lambda path: natural_key(path.name))


def numbers_in(name: str) -> tuple[int, ...]:
    """The numbers of a name from left to right."""
    return tuple(int(digits) for digits in NUMBER.findall(name))


def is_visible(path: Path) -> bool:
    """Whether the name does not begin with a dot."""
    return not path.name.startswith(".")
