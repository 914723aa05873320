"""Everything below a folder: what is to be decoded, and what is not, with the reason. Nothing is left out silently."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from seedvr2.data.listing import is_frame_folder
from seedvr2.errors import UserError
from seedvr2.io.images import is_image
from seedvr2.io.reader import is_video


class File(NamedTuple):
    """A file, or a folder of frames."""

    name: str  # path relative to the root, with forward slashes
    kind: str  # image, video or frames; of what is not decoded the reason: foreign or unreadable
    detail: str = ""  # of the reason

    @property
    def is_media(self) -> bool:
        """Whether it is to be decoded."""
        return not self.detail


def find_files(root: Path, *, frame_folders: bool = True, without: Collection[str] = ()) -> list[File]:
    """All files below `root` by name, except hidden ones and the names in `without`.

    With `frame_folders` a folder whose images are all numbered is one clip, as in `list_folder`. Links are followed,
    but not back to a folder above them. Raises UserError if `root` is not a folder or holds no image or video.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give a folder of images and videos")
    found = [file for file in _walk(root, "", (), frame_folders) if file.name not in without]
    if not any(file.is_media for file in found):
        raise UserError(f"{root} holds no image or video; check the folder")
    return sorted(found)


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...], frame_folders: bool) -> Iterator[File]:
    try:
        status = folder.stat()
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        yield File(prefix.rstrip("/"), "unreadable", f"the folder cannot be listed ({error.strerror})")
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        yield File(prefix.rstrip("/"), "unreadable", "the link leads back to a folder above it")
        return
    files = [Path(entry.name) for entry in entries if not _is_folder(entry)]
    pictures = [file for file in files if is_image(file)]
    is_clip = frame_folders and is_frame_folder(pictures)
    if is_clip:
        yield File(prefix.rstrip("/") or ".", "frames")
    for file in files:
        if is_image(file):
            if not is_clip:
                yield File(f"{prefix}{file}", "image")
        elif is_video(file):
            yield File(f"{prefix}{file}", "video")
        else:
            yield File(f"{prefix}{file}", "foreign", "the suffix is neither that of an image nor that of a video")
    for entry in entries:
        if _is_folder(entry):
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", (*above, identity), frame_folders)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
