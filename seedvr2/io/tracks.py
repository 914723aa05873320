"""A stream of an output that is filled with packets of a source, and what a container takes."""

import io
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Protocol

import av

LONGEST_PRIMING = 1  # seconds
# Early versions of PyAV copy every stream as it is; later ones look for an encoder unless told.
AS_IT_IS = {"opaque": True} if "opaque" in (av.container.OutputContainer.add_stream_from_template.__doc__ or "") else {}


class Track(Protocol):
    """A stream of the output and how packets of the source become its own."""

    stream: av.stream.Stream

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """The packets to write for one of the source."""

    def flush(self) -> list[av.Packet]:
        """The packets that are left at the end."""


class CopiedTrack:
    """A stream whose packets pass unchanged but for gaps and steps back in their time stamps.

    Matroska has no negative times: sound that starts a decoder before 0 begins at 0 there, by `delay` seconds too late,
    which its header takes back.
    """

    def __init__(self, template: av.stream.Stream, output: av.container.OutputContainer, *, has_delay: bool):
        """has_delay: whether FFmpeg takes care of the sound before 0 by itself."""
        self.stream = copied_stream(template, output)
        is_cover = bool(template.disposition & av.stream.Disposition.attached_pic)
        self._next: int | None = 0 if is_cover else None  # a cover has no time
        self._last: int | None = None
        self._is_behind = False  # the packets before had to be moved
        self._has_priming = output.format.name == "matroska" and template.type == "audio" and not has_delay
        self._shift = 0
        self.delay = Fraction(0)

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """The packet; none if its time is unknown."""
        stamp = packet.dts if packet.dts is not None else packet.pts if packet.pts is not None else self._next
        if stamp is None:
            return []
        if self._last is None and self._has_priming and -LONGEST_PRIMING <= stamp * exact(packet.time_base) < 0:
            self._shift = -stamp
            self.delay = self._shift * exact(packet.time_base)
        # a later stamp has to be later in the units of the output too
        step = max(1, math.ceil(exact(self.stream.time_base) / exact(packet.time_base)))
        self._is_behind = self._last is not None and stamp < self._last + (step if self._is_behind else 1)
        if self._is_behind:
            stamp = self._last + step
        packet.pts = max(packet.pts or stamp, stamp) + self._shift
        packet.dts = stamp + self._shift
        self._last, self._next = stamp, stamp + (packet.duration or 0)
        return [packet]

    def flush(self) -> list[av.Packet]:
        """Nothing is left at the end."""
        return []


def copied_stream(template: av.stream.Stream, output: av.container.OutputContainer) -> av.stream.Stream:
    """A stream of the output for unchanged packets of a template."""
    return output.add_stream_from_template(template, **AS_IT_IS)


def exact(rational: object) -> Fraction:
    """A rational of PyAV, which from version 19 on has a type of its own."""
    return Fraction(rational.numerator, rational.denominator)


def header(container_format: str, add: Callable[[av.container.OutputContainer], object]) -> bytes | None:
    """The file without frames that `add` makes of a container by adding a stream; None if that is refused.

    Only writing it tells: the list of supported codecs names some that the muxer then refuses.
    """
    with io.BytesIO() as memory:
        probe = av.open(memory, "w", format=container_format)
        try:
            add(probe)
            probe.start_encoding()
            probe.close()
        except (av.FFmpegError, ValueError, AttributeError, NotImplementedError):
            return None
        return memory.getvalue()
