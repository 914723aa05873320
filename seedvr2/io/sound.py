"""Sound that a container refuses, encoded again in step with its time stamps."""

import logging
from collections.abc import Iterator

import av

# format -> encoder and its name for people; "": all other formats
ENCODERS = {"webm": ("libopus", "Opus"), "": ("aac", "AAC")}
RATES = {
    "aac": frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000}),
    "libopus": frozenset({8000, 12000, 16000, 24000, 48000}),
}
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 5: "5.0", 6: "5.1", 8: "7.1"}  # of channels; any other becomes stereo
BITS_PER_CHANNEL = 128_000
# Gaps become silence and overlaps are cut, so that sound and pictures stay together.
FILL_GAPS = "async=1"

_log = logging.getLogger(__name__)


def name_of_encoder(container_format: str) -> str:
    """What sound becomes that does not fit into a container, for people."""
    return ENCODERS.get(container_format, ENCODERS[""])[1]


class SoundEncoder:
    """A sound stream of `output` that takes the decoded packets of `template`; its times are those of the packets."""

    def __init__(self, template: av.AudioStream, output: av.container.OutputContainer):
        encoder = ENCODERS.get(output.format.name, ENCODERS[""])[0]
        rate = template.rate if template.rate in RATES[encoder] else 48000
        layout = LAYOUTS.get(template.channels, "stereo")
        self.loses_channels = template.channels not in LAYOUTS
        self.stream = output.add_stream(encoder, rate=rate)
        self.stream.codec_context.layout = layout
        self.stream.codec_context.bit_rate = BITS_PER_CHANNEL * self.stream.codec_context.layout.nb_channels
        self._form = f"sample_rates={rate}:channel_layouts={layout}"
        self._graph: av.filter.Graph | None = None
        self._kind: tuple | None = None

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """The packets that a packet of the source gives; damaged ones give none."""
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            _log.warning("a part of the sound is damaged and left out (%s)", error.strerror)
            return []
        return [made for frame in frames for made in self._encoded(frame)]

    def flush(self) -> list[av.Packet]:
        """The packets that are left at the end."""
        rest = [made for frame in self._pulled(None) for made in self.stream.encode(frame)] if self._graph else []
        return rest + self.stream.encode(None)

    def _encoded(self, frame: av.AudioFrame) -> Iterator[av.Packet]:
        kind = (frame.format.name, frame.layout.name, frame.sample_rate, frame.time_base)
        if kind != self._kind:
            if self._graph:
                for rest in self._pulled(None):
                    yield from self.stream.encode(rest)
            self._graph, self._kind = self._linked(*kind), kind
        for even in self._pulled(frame):
            yield from self.stream.encode(even)

    def _linked(self, sample_format: str, layout: str, rate: int, time_base: object) -> av.filter.Graph:
        graph = av.filter.Graph()
        source = graph.add_abuffer(format=sample_format, layout=layout, sample_rate=rate, time_base=time_base)
        filters = [graph.add("aresample", FILL_GAPS), graph.add("aformat", self._form), graph.add("abuffersink")]
        for before, after in zip([source, *filters], filters, strict=False):
            before.link_to(after)
        graph.configure()
        return graph

    def _pulled(self, frame: av.AudioFrame | None) -> Iterator[av.AudioFrame]:
        self._graph.push(frame)
        while True:
            try:
                yield self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
