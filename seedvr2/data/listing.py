"""What a folder of training data holds: images, videos, and folders of numbered frames, in a stable order."""

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from seedvr2.errors import UserError
from seedvr2.io.images import is_image
from seedvr2.io.reader import is_video

FRAME_NAME = re.compile(r"(frame|image|img|im)?[ _-]?\d+", re.IGNORECASE)


class Listing(NamedTuple):
    """Still images and clips below a folder; a clip is a video file or the folder of its numbered frames."""

    images: tuple[Path, ...]
    clips: tuple[Path, ...]


def list_folder(
    root: str | Path, *, allow: Sequence[str] = ("*",), skip: Sequence[str] = (), frame_folders: bool = True
) -> Listing:
    """Find the images and clips below `root`, sorted by relative path; hidden files and folders are ignored.

    `allow` and `skip` are glob patterns on the path relative to `root` with forward slashes, where `*` also crosses
    slashes; a folder of frames is matched by its own path. With `frame_folders` a folder whose images all have names
    like 0001.png or frame_12.jpg is one clip, otherwise they are still images. Links are followed, but not back to a
    folder above them. Raises UserError if `root` is not a folder or nothing is found.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give a folder of images and videos")
    images, clips = [], []
    above = {str(root): {_identity(root)}}  # of each folder: itself and those it lies in
    for folder, subfolders, names in os.walk(root, followlinks=True):
        reached = above.pop(folder)
        identities = {name: _identity(Path(folder, name)) for name in subfolders if not name.startswith(".")}
        subfolders[:] = [name for name, identity in identities.items() if identity not in reached]
        above |= {os.path.join(folder, name): reached | {identities[name]} for name in subfolders}
        files = [Path(folder, name) for name in names if not name.startswith(".")]
        pictures = [file for file in files if is_image(file)]
        if frame_folders and is_frame_folder(pictures):
            clips.append(Path(folder))
        else:
            images += pictures
        clips += [file for file in files if is_video(file)]

    def is_wanted(path: Path) -> bool:
        name = path.relative_to(root).as_posix()
        return any(fnmatchcase(name, pattern) for pattern in allow) and not any(
            fnmatchcase(name, pattern) for pattern in skip
        )

    listing = Listing(*(tuple(sorted(filter(is_wanted, found), key=Path.as_posix)) for found in (images, clips)))
    if not listing.images and not listing.clips:
        raise UserError(f"{root} holds no image or video that the patterns let through; check root, allow and skip")
    return listing


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def is_frame_folder(pictures: Sequence[Path]) -> bool:
    """Whether the images of one folder look like the frames of a clip: two or more, numbered, of one type."""
    is_numbered = all(FRAME_NAME.fullmatch(picture.stem) for picture in pictures)
    return len(pictures) > 1 and is_numbered and len({picture.suffix for picture in pictures}) == 1


def frame_files(folder: Path) -> tuple[Path, ...]:
    """The images of a folder of frames by number, so that 10 follows 9."""
    pictures = [file for file in folder.iterdir() if is_image(file) and not file.name.startswith(".")]
    numbers = {file: re.search(r"\d+$", file.stem) for file in pictures}
    if unnumbered := [file for file, number in numbers.items() if number is None]:
        raise UserError(f"{unnumbered[0]} has no number, so {folder} is no clip of frames; take it out, or number it")
    return tuple(sorted(pictures, key=lambda file: (int(numbers[file][0]), file.name)))
