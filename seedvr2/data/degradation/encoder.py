"""Video codecs in memory: frames go through a real encoder and its decoder, reproducibly, and come back as frames."""

from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np

from seedvr2.errors import UserError

MATRIX = "ITU601"
MPEG2_RATE = Fraction(25)


class Codec(NamedTuple):
    """How one codec is run: names of its decoder, encoder options, smallest side in pixels, a frame rate it insists on.

    Without such a rate about one frame per second turns the bit rate into bits per frame.
    """

    decoder: str
    options: dict[str, str]
    smallest: int = 2
    rate: Fraction | None = None


# Macroblock-tree rate control (x265: cutree) reads beyond its buffers, so that equal frames give different bytes at
# times; x265 does so on pictures below 32 pixels in any case. One thread each makes the bytes reproducible.
CODECS = {
    "libx264": Codec("h264", {"x264-params": "mbtree=0"}),
    "mpeg4": Codec("mpeg4", {}),
    "libx265": Codec(
        "hevc",
        {"preset": "superfast", "x265-params": "cutree=0:ctu=16:pools=none:frame-threads=1:wpp=0:log-level=none"},
        smallest=64,
    ),
    "libvpx-vp9": Codec("vp9", {"deadline": "good", "cpu-used": "5", "row-mt": "0"}),
    "mpeg2video": Codec("mpeg2video", {}, rate=MPEG2_RATE),
}


def through_codec(
    frames: list[np.ndarray], codec: str, *, bits_per_frame: int, is_strict: bool = True
) -> list[np.ndarray]:
    """Frames uint8 (H,W,3) after a codec of `CODECS`, 4:2:0 with the BT.601 matrix: the same number, the same size.

    `is_strict` holds mpeg4 to the budget within about one frame; its own default overspends many times on short clips.
    Raises UserError if this build of PyAV lacks the encoder.
    """
    check_encoder(codec)
    height, width = frames[0].shape[:2]
    # 4:2:0 halves both sides; what is odd or too small is padded by repeating the edge and cropped after decoding.
    padding = (*((0, _padding(side, CODECS[codec].smallest)) for side in (height, width)), (0, 0))
    even = [np.pad(frame, padding, "edge") for frame in frames]
    decoded = _decode(_encode(even, codec, bits_per_frame=bits_per_frame, is_strict=is_strict), codec)
    assert len(decoded) == len(frames), f"{codec} returned {len(decoded)} of {len(frames)} frames"
    return [np.ascontiguousarray(frame[:height, :width]) for frame in decoded]


def check_encoder(codec: str) -> None:
    """Raise UserError if this build of PyAV lacks the encoder."""
    try:
        av.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError as error:
        raise UserError(f"PyAV was built without {codec}; set its odds to 0 or install PyAV's wheel") from error


def _padding(side: int, smallest: int) -> int:
    return max(side + side % 2, smallest) - side


def _encode(frames: list[np.ndarray], codec: str, *, bits_per_frame: int, is_strict: bool) -> list[av.Packet]:
    rate, bit_rate = _rates(bits_per_frame, CODECS[codec].rate)
    encoder = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = frames[0].shape[:2]
    encoder.pix_fmt = "yuv420p"
    encoder.framerate, encoder.time_base = rate, 1 / rate
    encoder.bit_rate = bit_rate
    encoder.thread_count = 1
    encoder.options = dict(CODECS[codec].options)
    if is_strict:
        encoder.bit_rate_tolerance = bit_rate
    packets = []
    for time, array in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(array, format="rgb24").reformat(format="yuv420p", dst_colorspace=MATRIX)
        frame.pts, frame.time_base = time, encoder.time_base
        packets += encoder.encode(frame)
    return packets + encoder.encode(None)


def _rates(bits_per_frame: int, fixed: Fraction | None) -> tuple[Fraction, int]:
    # Frames per second and bits per second. Encoders take whole kilobits per second, so the frame rate absorbs the
    # remainder where it is free.
    if fixed:
        return fixed, round(bits_per_frame * fixed)
    kilobits = max(round(bits_per_frame / 1000), 1)
    return Fraction(1000 * kilobits, bits_per_frame).limit_denominator(1000), 1000 * kilobits


def _decode(packets: list[av.Packet], codec: str) -> list[np.ndarray]:
    decoder = av.CodecContext.create(CODECS[codec].decoder, "r")
    decoder.thread_count = 1
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    return [frame.to_ndarray(format="rgb24", src_colorspace=MATRIX) for frame in frames]
