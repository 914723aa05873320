"""Everything of a source but its pictures, carried into an output: sound, subtitles, chapters, tags, attachments.

Packets are copied as they are. Only what the container refuses is re-encoded (sound) or put into its form (text);
what it cannot hold at all is left out and said so.
"""

import logging
from fractions import Fraction
from pathlib import Path

import av
from av.subtitles.stream import SubtitleStream

from seedvr2.errors import UserError
from seedvr2.io.clock import begins_anew
from seedvr2.io.codecs import PICTURE_SUFFIXES
from seedvr2.io.matroska import has_codec_delay
from seedvr2.io.reader import main_stream, open_container
from seedvr2.io.sound import SoundEncoder, name_of_encoder
from seedvr2.io.subtitles import TEXT_CODECS, TextTrack
from seedvr2.io.tracks import CopiedTrack, Track, copied_stream, exact, header

# Tags that tell of the old file, not of the film.
STALE = ("encoder", "duration", "bps", "number_of_", "_statistics", "vendor_id", "major_brand", "minor_version",
         "compatible_brands", "handler_name", "rotate", "filename", "mimetype")  # fmt: skip
# The languages that QuickTime knows by another code, or by an old one.
QUICKTIME = {"deu": "ger", "nld": "dut", "ell": "gre", "isl": "ice", "zho": "chi", "sqi": "alb", "mkd": "mac",
             "fre": "fra", "rum": "ron", "cze": "ces", "slo": "slk"}  # fmt: skip
COVERS = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}

_log = logging.getLogger(__name__)


class StreamCopy:
    """The streams of `source` beside its pictures, written to `output` in step with these; a closed pass of constant
    memory. Create it after the picture stream and before the header of `output` is written.

    `notes` on what changed or is missing. Raises UserError if the source cannot be opened.
    """

    def __init__(
        self,
        source: Path,
        output: av.container.OutputContainer,
        *,
        origin: Fraction,
        until: Fraction | None = None,
    ):
        """origin: the source's time, in seconds, that becomes 0; until: seconds of output at which everything ends."""
        self._input = open_source(source)
        self._source, self._output = source, output
        self._origin, self._until = origin, until
        self.notes: list[str] = []
        self._tracks: dict[int, Track] = {}
        self._times: dict[int, Unbroken] = {}
        self._suffix = {"matroska": ".mkv"}.get(output.format.name, f".{output.format.name}")
        self._next: av.Packet | None = None
        adders = {"audio": self._add_sound, "subtitle": self._add_subtitles, "video": self._add_cover,
                  "attachment": self._add_attachment, "data": self._leave_out_data}  # fmt: skip
        # Attachments have no number among the tracks of Matroska, so they come last.
        for stream in sorted(self._input.streams, key=lambda stream: stream.type == "attachment"):
            if stream.type in adders:
                adders[stream.type](stream)
        self._add_chapters()
        output.metadata.update(lasting_tags(self._input.metadata))
        self._packets = self._input.demux(*(self._input.streams[index] for index in self._tracks))
        self._packets = self._packets if self._tracks else iter(())

    def advance(self, until: Fraction | None) -> None:
        """Write what comes up to a time of the output in seconds; None writes everything that is left."""
        while (packet := self._next or self._read()) is not None:
            self._next = packet
            stamp = packet.dts if packet.dts is not None else packet.pts
            if until is not None and stamp is not None and stamp * exact(packet.time_base) - self._origin > until:
                return
            self._next = None
            self._write(packet)
        if until is None:
            for track in self._tracks.values():
                self._mux(track, track.flush())

    def delays(self) -> dict[int, Fraction]:
        """What the header of a Matroska file has to take back: see `CopiedTrack`; by the number of the stream."""
        copied = [track for track in self._tracks.values() if isinstance(track, CopiedTrack)]
        return {track.stream.index: track.delay for track in copied if track.delay}

    def close(self) -> None:
        """Close the source."""
        self._input.close()

    def _read(self) -> av.Packet | None:
        # A packet without data marks the end of a stream; one without dts may still hold sound.
        try:
            packet = next((packet for packet in self._packets if packet.size), None)
        except av.FFmpegError as error:
            _log.warning("the sound of %s is damaged and ends early (%s)", self._source, error.strerror)
            return None
        if packet is not None and packet.stream.type == "audio":
            self._times.setdefault(packet.stream.index, Unbroken()).move(packet)
        elif packet is not None and self._times:  # too sparse to tell by themselves
            shift(packet, next(iter(self._times.values())).offset)
        return packet

    def _write(self, packet: av.Packet) -> None:
        track = self._tracks[packet.stream.index]
        base = exact(packet.time_base)
        shift(packet, -self._origin)
        if self._until is not None and packet.pts is not None:
            left = int((self._until - packet.pts * base) / base)
            if left <= 0:
                return
            if packet.stream.type == "subtitle" and packet.duration:
                packet.duration = min(packet.duration, left)
        self._mux(track, track.convert(packet))

    def _mux(self, track: Track, packets: list[av.Packet]) -> None:
        for packet in packets:
            packet.stream = track.stream
            try:
                self._output.mux(packet)
            except (av.error.InvalidDataError, av.error.ArgumentError):
                _log.warning("a damaged packet of %s is left out", self._source)

    def _add_sound(self, stream: av.AudioStream) -> None:
        if self._copies(stream):
            return
        codec = stream.codec_context.name if stream.codec_context else None
        if codec is None:
            self.notes.append(f"a sound stream of an unknown kind does not fit into {self._suffix} and is left out")
            return
        encoder = SoundEncoder(stream, self._output)
        self._add(stream, encoder)
        name = name_of_encoder(self._output.format.name)
        stereo = f" in stereo (it has {stream.channels} channels)" if encoder.loses_channels else ""
        self.notes.append(f"{codec} sound does not fit into {self._suffix}, so it is re-encoded as {name}{stereo}")

    def _add_subtitles(self, stream: SubtitleStream) -> None:
        codec = stream.codec_context.name if stream.codec_context else "unknown"
        if self._copies(stream):
            return
        if codec in TEXT_CODECS and header(self._output.format.name, lambda probe: TextTrack(stream, probe)):
            self._add(stream, TextTrack(stream, self._output))
            self.notes.append(f"{codec} subtitles do not fit into {self._suffix}, so they keep their text only")
            return
        self.notes.append(f"{codec} subtitles do not fit into {self._suffix} and are left out")

    def _add_cover(self, stream: av.VideoStream) -> None:
        if stream.index == main_stream(self._input, self._source).index:
            return
        if not stream.disposition & av.stream.Disposition.attached_pic:
            self.notes.append(f"the file has another video stream ({stream.codec_context.name}), which is left out")
        elif self._output.format.name == "mp4" and self._copies(stream):
            return
        elif self._output.format.name == "matroska" and stream.codec_context.name in COVERS:
            with open_source(self._source) as again:
                picture = next(packet for packet in again.demux(again.streams[stream.index]) if packet.size)
                self._attach(*COVERS[stream.codec_context.name], bytes(picture))
        else:
            self.notes.append(f"the cover picture does not fit into {self._suffix} and is left out")

    def _add_attachment(self, stream: av.stream.Stream) -> None:
        name, kind = stream.metadata.get("filename", "attachment"), stream.metadata.get("mimetype")
        if self._output.format.name != "matroska":
            self.notes.append(f"the attachment {name} does not fit into {self._suffix} and is left out")
            return
        self._attach(name, kind or "application/octet-stream", getattr(stream, "data", None))

    def _attach(self, name: str, kind: str, data: bytes | None) -> None:
        if data is None or not hasattr(self._output, "add_attachment"):
            self.notes.append(f"the attachment {name} is left out, because this version of PyAV cannot copy it")
            return
        self._output.add_attachment(name, kind, data)

    def _leave_out_data(self, stream: av.stream.Stream) -> None:
        # MP4 keeps chapter titles in a track of their own, beside the chapters.
        if (stream.name or "bin_data") != "bin_data":
            self.notes.append(f"the file has a data stream ({stream.name}), which is left out")

    def _add_chapters(self) -> None:
        if not hasattr(self._output, "set_chapters"):
            return
        chapters = []
        for chapter in self._input.chapters():
            base = exact(chapter["time_base"])
            shift, end = round(self._origin / base), chapter["end"]
            if self._until is not None:
                end = min(end, shift + int(self._until / base))
            start = max(chapter["start"], shift)
            if start < end:
                chapters.append({**chapter, "start": start - shift, "end": end - shift})
        if chapters:
            self._output.set_chapters(chapters)

    def _copies(self, stream: av.stream.Stream) -> bool:
        written = header(self._output.format.name, lambda probe: copied_stream(stream, probe))
        if written is not None:
            self._add(stream, CopiedTrack(stream, self._output, has_delay=has_codec_delay(written)))
        return written is not None

    def _add(self, template: av.stream.Stream, track: Track) -> None:
        carry_tags(template, track.stream, self._output.format.name)
        self._tracks[template.index] = track


class Unbroken:
    """Times of a sound stream that begin anew on the way, as in joined recordings, put behind what came before."""

    def __init__(self) -> None:
        self.offset = Fraction(0)  # seconds
        self._end: int | None = None
        self._seen: list[int] = []  # the last two stamps

    def move(self, packet: av.Packet) -> None:
        """Give a packet its time in the whole stream."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None:
            return
        base = exact(packet.time_base)
        if begins_anew(stamp, self._seen, base):
            self.offset = (self._end - stamp) * base
        self._seen = [*self._seen[-1:], stamp]
        shift(packet, self.offset)
        end = stamp + round(self.offset / base) + (packet.duration or 0)
        self._end = end if self._end is None else max(self._end, end)


def shift(packet: av.Packet, seconds: Fraction) -> None:
    """Move a packet in time."""
    units = round(seconds / exact(packet.time_base))
    packet.pts = None if packet.pts is None else packet.pts + units
    packet.dts = None if packet.dts is None else packet.dts + units


def open_source(source: Path) -> av.container.InputContainer:
    """The opened file; raises UserError if it cannot be."""
    try:
        return open_container(source)
    except av.FFmpegError as error:
        raise UserError(f"{source} cannot be read for its sound ({error.strerror}); check the file") from error


def may_have_streams(source: Path) -> bool:
    """Whether a source can hold anything but pictures: it is a file, and not one of a picture, be it moving."""
    return source.suffix.lower() not in PICTURE_SUFFIXES and not source.is_dir()


def source_origin(source: Path) -> Fraction | None:
    """The source's time, in seconds, that becomes 0 of the output; None, the first frame, without sound or subtitles.

    It is the start of the file if late, else 0: the priming of sound encoders lies before 0.
    """
    if not may_have_streams(source):
        return None
    with open_source(source) as container:
        if not any(stream.type in ("audio", "subtitle") for stream in container.streams):
            return None
        return max(Fraction(0), Fraction(container.start_time or 0, av.time_base))


def carry_tags(source: av.stream.Stream, stream: av.stream.Stream, container_format: str) -> None:
    """Give a stream the language, title, other lasting tags and dispositions of another."""
    tags = lasting_tags(source.metadata)
    name = next((tags.pop(key) for key in list(tags) if key.lower() == "name"), None)
    if name is not None:  # what MP4 calls the title of a track
        tags.setdefault("title", name)
    if container_format == "mov" and "language" in tags:
        tags["language"] = QUICKTIME.get(tags["language"], tags["language"])
    stream.metadata.update(tags)
    stream.disposition = source.disposition.value


def lasting_tags(tags: dict[str, str]) -> dict[str, str]:
    """The tags that stay true when pictures and container change."""
    return {key: value for key, value in tags.items() if not key.lower().startswith(STALE)}
