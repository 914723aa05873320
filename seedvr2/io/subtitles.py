"""Text subtitles turned from the form of one container into that of another; the words and line breaks stay."""

import re
import struct

import av
from av.subtitles.stream import SubtitleStream

TEXT_CODECS = frozenset({"subrip", "srt", "text", "ass", "ssa", "mov_text", "webvtt"})
TARGETS = {"mp4": "mov_text", "mov": "mov_text", "webm": "webvtt", "matroska": "subrip"}
FIELDS_BEFORE_TEXT = 8  # of an ASS event in a packet
OVERRIDES = re.compile(r"\{[^}]*\}")
TAGS = re.compile(r"</?[^>]+>")
# What encoders read the default style from; the text itself passes through here, not through them.
HEADER = b"""[Script Info]
ScriptType: v4.00+
PlayResX: 384
PlayResY: 288

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


class TextTrack:
    """A subtitle stream of `output` in the text form of its container, fed with packets of `template`.

    Raises ValueError or an error of PyAV if the output takes no text subtitles.
    """

    def __init__(self, template: SubtitleStream, output: av.container.OutputContainer):
        self._from = template.codec_context.name
        self._to = TARGETS[output.format.name]
        self.stream = output.add_stream(self._to)
        self.stream.codec_context.subtitle_header = HEADER
        self.stream.time_base = template.time_base

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """The packet in the other form; none if it holds no text."""
        text = text_of(bytes(packet), self._from)
        if not text:
            return []
        data = written(text, self._to)
        made = av.Packet(len(data))
        made.update(data)
        made.pts, made.dts, made.duration, made.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
        made.is_keyframe = True
        return [made]

    def flush(self) -> list[av.Packet]:
        """Nothing is left at the end."""
        return []


def text_of(data: bytes, codec: str) -> str:
    """The text of a subtitle packet, with line breaks, and with tags like <i> where the form has them."""
    if codec == "mov_text":
        (length,) = struct.unpack(">H", data[:2]) if len(data) >= 2 else (0,)
        data = data[2 : 2 + length]
    text = data.decode("utf-8", errors="replace").replace("\r\n", "\n")
    if codec in ("ass", "ssa"):
        text = text.split(",", FIELDS_BEFORE_TEXT)[-1]
        text = OVERRIDES.sub("", text).replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
    return text.strip("\n\0")


def written(text: str, codec: str) -> bytes:
    """The text as the packet of a codec: mov_text, which has no tags, webvtt or subrip."""
    if codec != "mov_text":
        return text.encode()
    data = TAGS.sub("", text).encode()[: 2**16 - 1]
    return struct.pack(">H", len(data)) + data
