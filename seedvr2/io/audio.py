"""The sound of one file carried into another: packets copied as they are, re-encoded only where they do not fit."""

import io
import logging
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av

from seedvr2.errors import UserError
from seedvr2.io.reader import media_name

AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000})
AAC_BITS_PER_CHANNEL = 128_000

_log = logging.getLogger(__name__)


class Track(NamedTuple):
    """A sound stream of the output and how it is filled."""

    stream: av.AudioStream
    is_copied: bool


class AudioCopy:
    """All sound of `source`, written to `output` in step with its pictures; memory does not grow with the length.

    `streams` counts the sound streams; `reencoded` names the codecs that the container does not take. Create it before
    the header of `output` is written.
    """

    def __init__(self, source: Path, output: av.container.OutputContainer):
        try:
            self._input = av.open(media_name(source))
        except av.FFmpegError as error:
            raise UserError(f"{source} cannot be read for its sound ({error.strerror}); check the file") from error
        self._source = source
        self._output = output
        self.reencoded: list[str] = []
        self._tracks = {stream.index: self._track(stream) for stream in self._input.streams.audio}
        self._packets = self._input.demux(*self._input.streams.audio) if self._tracks else iter(())
        self._next: av.Packet | None = None

    @property
    def streams(self) -> int:
        """How many sound streams the source has."""
        return len(self._tracks)

    @property
    def origin(self) -> Fraction:
        """The source's time, in seconds, that becomes 0: its start if late, else 0 (encoder priming lies before 0)."""
        return max(Fraction(0), Fraction(self._input.start_time or 0, av.time_base))

    def advance(self, until: Fraction | None) -> None:
        """Write the sound up to a time of the output in seconds; None writes everything that is left."""
        while (packet := self._next or self._read()) is not None:
            self._next = packet
            stamp = packet.dts if packet.dts is not None else packet.pts
            if until is not None and stamp is not None and stamp * _exact(packet.time_base) - self.origin > until:
                return
            self._next = None
            self._write(packet)
        if until is None:
            self._flush()

    def close(self) -> None:
        """Close the source."""
        self._input.close()

    def _track(self, stream: av.AudioStream) -> Track:
        if _accepts(self._output.format.name, stream):
            return Track(self._output.add_stream_from_template(stream), True)
        self.reencoded.append(stream.codec_context.name)
        rate = stream.rate if stream.rate in AAC_RATES else 48000
        encoder = self._output.add_stream("aac", rate=rate)
        encoder.codec_context.layout = stream.layout.name
        encoder.codec_context.bit_rate = AAC_BITS_PER_CHANNEL * stream.channels
        return Track(encoder, False)

    def _read(self) -> av.Packet | None:
        # A packet without data marks the end of a stream; one without dts may still hold sound.
        try:
            return next((packet for packet in self._packets if packet.size), None)
        except av.FFmpegError as error:
            _log.warning("the sound of %s is damaged and ends early (%s)", self._source, error.strerror)
            return None

    def _write(self, packet: av.Packet) -> None:
        track = self._tracks[packet.stream.index]
        if track.is_copied:
            shift = round(self.origin / _exact(packet.time_base))
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
            packet.stream = track.stream
            self._output.mux(packet)
            return
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            _log.warning("a part of the sound of %s is damaged and left out (%s)", self._source, error.strerror)
            return
        for frame in frames:
            if frame.pts is not None:
                frame.pts -= round(self.origin / _exact(frame.time_base))
            self._output.mux(track.stream.encode(frame))

    def _flush(self) -> None:
        for track in self._tracks.values():
            if not track.is_copied:
                self._output.mux(track.stream.encode(None))


def _exact(rational: object) -> Fraction:
    # PyAV >= 19 has a rational type of its own.
    return Fraction(rational.numerator, rational.denominator)


def _accepts(container_format: str, stream: av.AudioStream) -> bool:
    # Only writing a header tells: the list of supported codecs names some that the muxer then refuses.
    with io.BytesIO() as memory:
        probe = av.open(memory, "w", format=container_format)
        try:
            probe.add_stream_from_template(stream)
            probe.start_encoding()
        except (av.FFmpegError, ValueError):
            return False
        return True
