"""The final file: segments joined by copying their packets, beside everything else that the source has.

Decoding times are those of the whole film: the n-th packet is decoded when the frame that is shown n - d frames before
the end of the queue is due, d being the largest reordering of any segment. So they increase over every join.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av

from seedvr2.errors import UserError
from seedvr2.io.clock import FrameClock
from seedvr2.io.encoding import Encoding
from seedvr2.io.files import disk_errors, whole
from seedvr2.io.matroska import amend
from seedvr2.io.picture import MediaInfo
from seedvr2.io.reader import main_stream, media_name
from seedvr2.io.segments import BITEXACT, EARLIEST, set_tags
from seedvr2.io.sequences import merge
from seedvr2.io.streams import StreamCopy, carry_tags, may_have_streams, open_source
from seedvr2.io.tracks import copied_stream

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
PRORES_TAGS = {"proxy": "apco", "lt": "apcs", "standard": "apcn", "hq": "apch", "4444": "ap4h", "4444xq": "ap4x"}
# The index in front lets a browser play while it loads; starts of streams are rounded to the unit of the whole film.
MP4_OPTIONS = {"movflags": "faststart", "movie_timescale": "90000"}
HEVC_TAG = "hvc1"  # the one that Apple's players know


class Timing(NamedTuple):
    """When frames are shown, and by how many frames decoding runs ahead of showing."""

    ticks: Sequence[int]  # in the order of showing
    ahead: int
    usual_duration: int

    def decoded(self, number: int) -> int:
        """The tick at which the packet `number` in the order of decoding is due."""
        if number < self.ahead:
            return self.ticks[0] - (self.ahead - number) * self.usual_duration
        return self.ticks[number - self.ahead]

    def duration(self, tick: int) -> int:
        """How long the frame of a tick is shown."""
        following = bisect_left(self.ticks, tick) + 1
        return self.ticks[following] - tick if following < len(self.ticks) else self.usual_duration


def assemble(
    output: Path,
    segments: Sequence[Path],
    encoding: Encoding,
    *,
    source: MediaInfo | None,
    clock: FrameClock,
    sample_aspect: Fraction = Fraction(1),
    until: Fraction | None = None,
) -> list[str]:
    """Join segments into `output`, which appears when it is complete, with all other streams of `source`.

    clock: that of the frames, in whose units their ticks are. until: seconds of output after which the copied streams
    end. The segments stay as they are. Returns plain sentences on what does not fit. Raises UserError if the place
    cannot be written, the disk is full, or a segment is damaged or of another version of the encoder.
    """
    output, segments = Path(output), [Path(segment) for segment in segments]
    assert segments, "nothing to join"
    if encoding.is_sequence:
        with disk_errors(output):
            merge(output, segments, encoding)
        return _picture_notes(source)
    timing = _timing(segments, clock)
    with disk_errors(output), whole(output) as partial:
        container_format = FORMATS[output.suffix.lower()]
        options = BITEXACT if container_format in ("matroska", "webm") else {**BITEXACT, **MP4_OPTIONS}
        container = av.open(media_name(partial), "w", format=container_format, options=options)
        try:
            notes, delays = _join(container, segments, encoding, timing, source, clock, sample_aspect, until)
        finally:
            container.close()
        is_matroska = container_format in ("matroska", "webm")
        if is_matroska and (sample_aspect != 1 or delays) and not amend(partial, sample_aspect, delays):
            notes.append("the header has no room for the shape of the pixels and the start of the sound")
        return notes


def _join(
    container: av.container.OutputContainer,
    segments: Sequence[Path],
    encoding: Encoding,
    timing: Timing,
    source: MediaInfo | None,
    clock: FrameClock,
    sample_aspect: Fraction,
    until: Fraction | None,
) -> tuple[list[str], dict[int, Fraction]]:
    with _opened(segments[0]) as first:
        stream = copied_stream(first.streams.video[0], container)
        headers = first.streams.video[0].codec_context.extradata
    stream.time_base = clock.time_base
    set_tags(stream.codec_context, encoding, sample_aspect)
    stream.codec_context.framerate = _constant_rate(timing, clock)
    _set_codec_tag(stream.codec_context, container.format.name, encoding)
    others = _other_streams(container, stream, source, clock, until)
    try:
        container.start_encoding()
        for number, packet in enumerate(_packets(segments, headers)):
            packet.stream, packet.time_base = stream, clock.time_base
            packet.pts -= EARLIEST
            packet.dts, packet.duration = timing.decoded(number), timing.duration(packet.pts)
            if others:
                others.advance(clock.seconds(packet.dts))
            container.mux(packet)
        if others:
            others.advance(None)
        return (others.notes, others.delays()) if others else ([], {})
    finally:
        if others:
            others.close()


def _other_streams(
    container: av.container.OutputContainer,
    stream: av.VideoStream,
    source: MediaInfo | None,
    clock: FrameClock,
    until: Fraction | None,
) -> StreamCopy | None:
    if source is None or not may_have_streams(source.path):
        return None
    with open_source(source.path) as old:
        if old.streams.video:
            carry_tags(main_stream(old, source.path), stream, container.format.name)
    return StreamCopy(source.path, container, origin=clock.origin, until=until)


def _picture_notes(source: MediaInfo | None) -> list[str]:
    if source is None or not may_have_streams(source.path):
        return []
    with open_source(source.path) as old:
        has_others = any(stream.type in ("audio", "subtitle") for stream in old.streams)
    return ["pictures hold no sound and no subtitles, so those of the input are left out"] if has_others else []


def _timing(segments: Sequence[Path], clock: FrameClock) -> Timing:
    stamps = array("q", (packet.pts - EARLIEST for packet in _packets(segments, None)))
    ticks = array("q", sorted(stamps))
    assert all(ticks[i] < ticks[i + 1] for i in range(len(ticks) - 1)), "segments overlap"
    ahead = max(number - bisect_left(ticks, stamp) for number, stamp in enumerate(stamps))
    usual = ticks[-1] - ticks[-2] if len(ticks) > 1 else 1
    if clock.rate:
        usual = round(1 / (clock.rate * clock.time_base))
    return Timing(ticks, ahead, max(1, usual))


def _packets(segments: Sequence[Path], headers: bytes | None) -> Iterator[av.Packet]:
    # In the order of decoding; `headers` of the encoder must be those of all segments.
    for segment in segments:
        with _opened(segment) as container:
            stream = container.streams.video[0]
            if headers is not None and stream.codec_context.extradata != headers:
                raise UserError(f"{segment} comes from another version of the encoder; delete it and start again")
            yield from (packet for packet in container.demux(stream) if packet.size)


def _opened(segment: Path) -> av.container.InputContainer:
    try:
        return av.open(media_name(segment), format="matroska")
    except av.FFmpegError as error:
        raise UserError(f"the segment {segment} is damaged ({error.strerror}); delete it and start again") from error


def _constant_rate(timing: Timing, clock: FrameClock) -> Fraction:
    # What the file says of its rate; 0, nothing, where frames do not lie on a grid.
    if clock.rate is None:
        return Fraction(0)
    step, start = 1 / (clock.rate * clock.time_base), timing.ticks[0]
    is_even = all(abs(tick - start - number * step) <= 1 for number, tick in enumerate(timing.ticks))
    return clock.rate if is_even else Fraction(0)


def _set_codec_tag(context: av.VideoCodecContext, container_format: str, encoding: Encoding) -> None:
    if container_format in ("mp4", "mov") and encoding.codec == "hevc":
        context.codec_tag = HEVC_TAG
    elif container_format == "mov" and encoding.codec == "prores":
        context.codec_tag = PRORES_TAGS[encoding.options["profile"]]
