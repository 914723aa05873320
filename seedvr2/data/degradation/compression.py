"""JPEG and video codecs: a clip goes through a real encoder and decoder in memory and comes back at its own size."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import av
import cv2
import numpy as np

from seedvr2.data.degradation.draw import Draw, odds_of, span_of, steps_of, to_bytes, to_floats
from seedvr2.errors import UserError

DECODERS = {"libx264": "h264", "mpeg4": "mpeg4"}
RATES = ("per_pixel", "per_frame")
MATRIX = "ITU601"


class Jpeg:
    """Compress each frame as JPEG; `quality` is a range, and `drift` has its largest step per frame."""

    def __init__(self, quality: Sequence[float] = (30, 95), *, drift: Mapping[str, float] | None = None):
        self.quality = span_of("quality", quality)
        self.drift = steps_of(drift, ("quality",))

    def __call__(self, clip: np.ndarray, draw: Draw) -> np.ndarray:
        walk = draw.walk(self.quality, self.drift["quality"], frames=len(clip))
        qualities = [round(value) for value in walk]
        draw.record.append({"op": "jpeg", "quality": qualities})
        return np.stack([_through_jpeg(frame, quality) for frame, quality in zip(clip, qualities, strict=True)])


class VideoCodec:
    """Encode a clip at a random low bit rate and decode it again, 4:2:0 with the BT.601 matrix.

    `codecs` are the odds of libx264 and mpeg4. `bits` is the range of the budget: with `rate="per_pixel"` bits per
    pixel, drawn log-uniformly, so that the damage does not depend on the picture size; with `rate="per_frame"` bits
    per frame, drawn uniformly, as published for 256×256 crops; there mpeg4 keeps its own loose rate control. Clips
    of fewer than `minimum_frames` frames stay as they are. Raises UserError for unknown codecs or rates and for
    budgets that are not positive.
    """

    def __init__(
        self,
        codecs: Mapping[str, float],
        *,
        bits: Sequence[float] = (0.03, 1.5),
        rate: str = "per_pixel",
        minimum_frames: int = 2,
    ):
        self.codecs = odds_of("codecs", codecs, tuple(DECODERS))
        self.bits = span_of("bits", bits)
        if rate not in RATES or self.bits[0] <= 0:
            raise UserError(f"rate is {rate!r} with bits {list(self.bits)}; give one of {RATES} and positive bits")
        self.rate = rate
        self.minimum_frames = int(minimum_frames)

    def __call__(self, clip: np.ndarray, draw: Draw) -> np.ndarray:
        if len(clip) < self.minimum_frames:
            return clip
        codec = draw.choose(self.codecs)
        if self.rate == "per_pixel":
            budget = float(np.exp(draw.uniform((np.log(self.bits[0]), np.log(self.bits[1])))))
            budget *= clip.shape[1] * clip.shape[2]
        else:
            budget = draw.uniform(self.bits)
        bits_per_frame = max(round(budget), 1)
        draw.record.append({"op": "video_codec", "codec": codec, "bits_per_frame": bits_per_frame})
        frames = [to_bytes(frame) for frame in clip]
        frames = through_codec(frames, codec, bits_per_frame=bits_per_frame)
        return np.stack([to_floats(frame) for frame in frames])


def through_codec(
    frames: list[np.ndarray], codec: str, *, bits_per_frame: int, is_strict: bool = True
) -> list[np.ndarray]:
    """Frames uint8 (H,W,3) after `codec` ("libx264" or "mpeg4"): the same number, the same size.

    `is_strict` holds mpeg4 to the budget within about one frame; its own default overspends many times on short clips.
    """
    height, width = frames[0].shape[:2]
    # 4:2:0 halves both sides; an odd one is padded by repeating the edge and cropped again after decoding.
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    even = [np.pad(frame, padding, "edge") for frame in frames]
    decoded = _decode(_encode(even, codec, bits_per_frame=bits_per_frame, is_strict=is_strict), codec)
    assert len(decoded) == len(frames), f"{codec} returned {len(decoded)} of {len(frames)} frames"
    return [np.ascontiguousarray(frame[:height, :width]) for frame in decoded]


def _through_jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    # OpenCV orders channels BGR; encoding RGB would swap the chroma weights.
    blue_first = cv2.cvtColor(to_bytes(frame), cv2.COLOR_RGB2BGR)
    is_encoded, data = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert is_encoded, f"JPEG encoding failed at quality {quality} and shape {frame.shape}"
    return to_floats(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


def _encode(frames: list[np.ndarray], codec: str, *, bits_per_frame: int, is_strict: bool) -> list[av.Packet]:
    # About one frame per second turns the bit rate into bits per frame. libx264 takes whole kilobits per second, so
    # the frame rate absorbs the remainder. One thread makes the bytes reproducible.
    kilobits = max(round(bits_per_frame / 1000), 1)
    rate = Fraction(1000 * kilobits, bits_per_frame).limit_denominator(1000)
    encoder = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = frames[0].shape[:2]
    encoder.pix_fmt = "yuv420p"
    encoder.framerate, encoder.time_base = rate, 1 / rate
    encoder.bit_rate = 1000 * kilobits
    encoder.thread_count = 1
    if codec == "libx264":
        # Macroblock-tree rate control reads beyond its buffers, so that equal frames give different bytes at times.
        encoder.options = {"x264-params": "mbtree=0"}
    if is_strict:
        encoder.bit_rate_tolerance = 1000 * kilobits
    packets = []
    for time, array in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(array, format="rgb24").reformat(format="yuv420p", dst_colorspace=MATRIX)
        frame.pts, frame.time_base = time, encoder.time_base
        packets += encoder.encode(frame)
    return packets + encoder.encode(None)


def _decode(packets: list[av.Packet], codec: str) -> list[np.ndarray]:
    decoder = av.CodecContext.create(DECODERS[codec], "r")
    decoder.thread_count = 1
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    return [frame.to_ndarray(format="rgb24", src_colorspace=MATRIX) for frame in frames]
