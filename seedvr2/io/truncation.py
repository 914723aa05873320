"""Whether a file is shorter than its own container says, which demuxers often pass over in silence."""

import struct
from pathlib import Path
from typing import IO

SEGMENT = 0x18538067  # of Matroska
EBML = b"\x1a\x45\xdf\xa3"
LONGEST_PADDING = 1024  # zeros after the end mark of a GIF
MAIN_BOXES = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"sidx", b"uuid", b"pnot"}


def is_cut_short(path: Path) -> bool:
    """True if an MP4, Matroska or AVI file ends before its outermost elements do, or a PNG or GIF without its end mark.

    Formats without such lengths, and files still being written as a stream, count as whole.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        file.seek(0)
        if start[4:8] in MAIN_BOXES:
            return _boxes_end(file, size) > size
        if start[:4] == EBML:
            return _segment_end(file) > size
        if start[:4] == b"RIFF":
            return _riff_end(file, size) > size
        if start[:8] == b"\x89PNG\r\n\x1a\n":
            return not _reaches_end_chunk(file)
        if start[:4] == b"GIF8":
            file.seek(-min(size, LONGEST_PADDING), 2)
            return not file.read().rstrip(b"\0").endswith(b";")
    return False


def _boxes_end(file: IO[bytes], size: int) -> int:
    position = 0
    while position < size:
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            return size + 1
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            if len(header) < 16:
                return size + 1
            length = int.from_bytes(header[8:], "big")
        if length == 0 or not header[4:8].isalnum():  # up to the end, or something else that was appended
            return size
        if length < 8:
            return size
        position += length
    return position


def _segment_end(file: IO[bytes]) -> int:
    file.seek(4)
    header_length, _ = _variable_number(file)
    file.seek(header_length, 1)
    if int.from_bytes(file.read(4), "big") != SEGMENT:
        return 0
    length, is_known = _variable_number(file)
    return file.tell() + length if is_known else 0


def _variable_number(file: IO[bytes]) -> tuple[int, bool]:
    # An EBML length: the leading zeros of the first byte count the bytes that follow; all ones mean "unknown".
    first = file.read(1)
    if not first or first[0] == 0:
        return 0, False
    extra = 8 - first[0].bit_length()
    number = (first[0] & (0x7F >> extra)) << (8 * extra) | int.from_bytes(file.read(extra), "big")
    return number, number != 2 ** (7 * (extra + 1)) - 1


def _riff_end(file: IO[bytes], size: int) -> int:
    # OpenDML files are a row of RIFF chunks.
    position = 0
    while position < size:
        file.seek(position)
        header = file.read(8)
        if header[:4] != b"RIFF":
            return size
        length = struct.unpack("<I", header[4:])[0]
        if length in (0, 0xFFFFFFFF):  # written as a stream
            return size
        position += 8 + length + length % 2
    return position


def _reaches_end_chunk(file: IO[bytes]) -> bool:
    position = 8
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return False
        if header[4:] == b"IEND":
            return True
        position += 12 + int.from_bytes(header[:4], "big")
