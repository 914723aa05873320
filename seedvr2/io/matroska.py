"""What PyAV cannot write into the header of a Matroska or WebM file: the shape of the pixels, the priming of sound.

The elements grow into the gap that FFmpeg leaves before the stream information, so nothing behind it moves.
"""

import math
import zlib
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

SEGMENT, SEEK_HEAD, SEEK, SEEK_ID, SEEK_POSITION = 0x18538067, 0x114D9B74, 0x4DBB, 0x53AB, 0x53AC
EBML = b"\x1a\x45\xdf\xa3"  # what every file begins with
INFO, TRACKS, ENTRY, VIDEO = 0x1549A966, 0x1654AE6B, 0xAE, 0xE0
PIXEL_WIDTH, PIXEL_HEIGHT, DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT = 0xB0, 0xBA, 0x54B0, 0x54BA, 0x54B2
TRACK_NUMBER, CODEC_DELAY = 0xD7, 0x56AA
VOID, CHECKSUM = 0xEC, 0xBF
UNIT_PIXELS, UNIT_ASPECT = 0, 3
HEADER_BYTES = 2**20  # more than any header without attachments, which come later
SMALLEST_GAP = 9  # an empty element with a length of eight bytes


class Element(NamedTuple):
    """An element of a file: its number, where it starts, where its content does, and where it ends."""

    kind: int
    start: int
    body: int
    end: int


def amend(path: Path, sample_aspect: Fraction, delays: Mapping[int, Fraction]) -> bool:
    """Complete the header of a finished file in place; False, and no change, if it has no room.

    sample_aspect: how wide a pixel of the video is, relative to its height. delays: by the number of a stream, the
    seconds of sound at its beginning that only start its decoder; its time stamps count from there.
    """
    with open(path, "r+b") as file:
        changed = _changed(file.read(HEADER_BYTES), sample_aspect, delays)
        if changed is None:
            return False
        start, header = changed
        file.seek(start)
        file.write(header)
    return True


def has_codec_delay(header: bytes) -> bool:
    """Whether a track of a header (of any container) says itself what of its sound only starts the decoder."""
    if not header.startswith(EBML):
        return False
    parts = _children(header, 0, len(header))
    for kind in (SEGMENT, TRACKS, ENTRY):
        parts = [child for e in parts if e.kind == kind for child in _children(header, e.body, e.end)]
    return any(element.kind == CODEC_DELAY for element in parts)


def _changed(data: bytes, sample_aspect: Fraction, delays: Mapping[int, Fraction]) -> tuple[int, bytes] | None:
    # The bytes from the index of the header to the end of the tracks, of the same length as before.
    top = _children(data, 0, len(data))
    segment = next(element for element in top if element.kind == SEGMENT)
    parts = {element.kind: element for element in reversed(_children(data, segment.body, len(data)))}
    if any(kind not in parts for kind in (SEEK_HEAD, VOID, INFO, TRACKS)):
        return None
    seek, gap, info, tracks = (parts[kind] for kind in (SEEK_HEAD, VOID, INFO, TRACKS))
    if not seek.end == gap.start < gap.end == info.start < info.end == tracks.start or tracks.end > len(data):
        return None
    new_tracks = _tracks(data, tracks, sample_aspect, delays)
    growth = len(new_tracks) - (tracks.end - tracks.start)
    left = gap.end - gap.start - growth
    if left < SMALLEST_GAP:
        return None
    moved = {INFO: info.start - growth - segment.body, TRACKS: info.end - growth - segment.body}
    void = _id(VOID) + (2**56 + left - SMALLEST_GAP).to_bytes(8, "big") + bytes(left - SMALLEST_GAP)
    return seek.start, _index(data, seek, moved) + void + data[info.start : info.end] + new_tracks


def _tracks(data: bytes, tracks: Element, sample_aspect: Fraction, delays: Mapping[int, Fraction]) -> bytes:
    children = _children(data, tracks.body, tracks.end)
    parts = []
    for child in children:
        if child.kind == ENTRY:
            parts.append(_element(ENTRY, _entry(data, child, sample_aspect, delays)))
        elif child.kind != CHECKSUM:
            parts.append(data[child.start : child.end])
    return _element(TRACKS, _checked(b"".join(parts), children))


def _entry(data: bytes, entry: Element, sample_aspect: Fraction, delays: Mapping[int, Fraction]) -> bytes:
    children = _children(data, entry.body, entry.end)
    number = next(int.from_bytes(data[e.body : e.end], "big") for e in children if e.kind == TRACK_NUMBER)
    is_film = number == 1 and sample_aspect != 1
    parts = [_video(data, e, sample_aspect) if e.kind == VIDEO and is_film else data[e.start : e.end] for e in children]
    if number - 1 in delays:
        parts.append(_number(CODEC_DELAY, round(delays[number - 1] * 10**9)))
    return b"".join(parts)


def _video(data: bytes, video: Element, sample_aspect: Fraction) -> bytes:
    children = _children(data, video.body, video.end)
    values = {e.kind: int.from_bytes(data[e.body : e.end], "big") for e in children}
    width, height, unit = _display(values[PIXEL_WIDTH], values[PIXEL_HEIGHT], sample_aspect)
    display = {DISPLAY_WIDTH: width, DISPLAY_HEIGHT: height, DISPLAY_UNIT: unit}
    kept = [data[e.start : e.end] for e in children if e.kind not in display]
    return _element(VIDEO, b"".join(kept + [_number(kind, value) for kind, value in display.items()]))


def _display(width: int, height: int, sample_aspect: Fraction) -> tuple[int, int, int]:
    # In pixels if these can be whole numbers, else as an aspect ratio.
    wide, high = width * sample_aspect, height / sample_aspect
    if wide.denominator == 1:
        return int(wide), height, UNIT_PIXELS
    if high.denominator == 1:
        return width, int(high), UNIT_PIXELS
    width, height = width * sample_aspect.numerator, height * sample_aspect.denominator
    divisor = math.gcd(width, height)
    return width // divisor, height // divisor, UNIT_ASPECT


def _index(data: bytes, seek: Element, moved: dict[int, int]) -> bytes:
    # Same length, other positions.
    children = _children(data, seek.body, seek.end)
    body = bytearray(data[seek.body : seek.end])
    for child in children:
        inner = {e.kind: e for e in _children(data, child.body, child.end)} if child.kind == SEEK else {}
        if inner:
            kind, position = inner[SEEK_ID], inner[SEEK_POSITION]
            target = moved.get(int.from_bytes(data[kind.body : kind.end], "big"))
            if target is not None:
                place = slice(position.body - seek.body, position.end - seek.body)
                body[place] = target.to_bytes(position.end - position.body, "big")
    first = children[0]
    rest = bytes(body[first.end - seek.body if first.kind == CHECKSUM else 0 :])
    return data[seek.start : seek.body] + _checked(rest, children)


def _checked(body: bytes, children: list[Element]) -> bytes:
    if children[0].kind != CHECKSUM:
        return body
    return _id(CHECKSUM) + b"\x84" + zlib.crc32(body).to_bytes(4, "little") + body


def _children(data: bytes, start: int, end: int) -> list[Element]:
    found = []
    while start < min(end, len(data)):
        kind_length = 9 - data[start].bit_length()
        body = start + kind_length
        if body >= len(data):
            break
        size_length = 9 - data[body].bit_length()
        mask = 2 ** (7 * size_length) - 1
        size = int.from_bytes(data[body : body + size_length], "big") & mask
        kind = int.from_bytes(data[start:body], "big")
        body += size_length
        found.append(Element(kind, start, body, body + size))
        start = body + size
    return found


def _element(kind: int, body: bytes) -> bytes:
    length = next(n for n in range(1, 9) if len(body) < 2 ** (7 * n) - 1)
    return _id(kind) + (2 ** (7 * length) + len(body)).to_bytes(length, "big") + body


def _number(kind: int, value: int) -> bytes:
    return _element(kind, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def _id(kind: int) -> bytes:
    return kind.to_bytes((kind.bit_length() + 7) // 8, "big")
