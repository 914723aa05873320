"""JPEG and video codecs: a clip goes through a real encoder and decoder in memory and comes back at its own size."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from torch import Tensor

from seedvr2.data.degradation.draw import Clip, Draw, odds_of, span_of, steps_of, to_bytes
from seedvr2.data.degradation.encoder import CODECS, check_encoder, through_codec
from seedvr2.data.degradation.jpeg import through_jpeg
from seedvr2.errors import UserError

RATES = ("per_pixel", "per_frame")


class Jpeg:
    """Compress each frame as JPEG; `quality` is a range, and `drift` has its largest step per frame."""

    takes_tensors = True

    def __init__(self, quality: Sequence[float] = (30, 95), *, drift: Mapping[str, float] | None = None):
        self.quality = span_of("quality", quality)
        self.drift = steps_of(drift, ("quality",))

    def __call__(self, clip: Clip, draw: Draw) -> Clip:
        walk = draw.walk(self.quality, self.drift["quality"], frames=len(clip))
        qualities = [round(value) for value in walk]
        draw.record.append({"op": "jpeg", "quality": qualities})
        if isinstance(clip, Tensor):
            return through_jpeg(clip, qualities)
        result = np.empty_like(clip)
        for frame, quality, target in zip(clip, qualities, result, strict=True):
            np.divide(_through_jpeg(frame, quality), np.float32(255), out=target)
        return result


class VideoCodec:
    """Encode a clip at a random low bit rate and decode it again, 4:2:0 with the BT.601 matrix.

    `codecs` are the odds of libx264, mpeg4, libx265, libvpx-vp9 and mpeg2video. `bits` is the range of the budget:
    with `rate="per_pixel"` bits per pixel, drawn log-uniformly, so that the damage does not depend on the picture
    size; with `rate="per_frame"` bits per frame, drawn uniformly, as published for 256×256 crops; there mpeg4 keeps
    its own loose rate control. Clips of fewer than `minimum_frames` frames stay as they are. Raises UserError for
    unknown codecs or rates, missing encoders, and budgets that are not positive.
    """

    def __init__(
        self,
        codecs: Mapping[str, float],
        *,
        bits: Sequence[float] = (0.03, 1.5),
        rate: str = "per_pixel",
        minimum_frames: int = 2,
    ):
        self.codecs = odds_of("codecs", codecs, tuple(CODECS))
        for codec in (name for name, odds in self.codecs.items() if odds > 0):
            check_encoder(codec)
        self.bits = span_of("bits", bits)
        if rate not in RATES or self.bits[0] <= 0:
            raise UserError(f"rate is {rate!r} with bits {list(self.bits)}; give one of {RATES} and positive bits")
        self.rate = rate
        self.minimum_frames = int(minimum_frames)

    def __call__(self, clip: np.ndarray, draw: Draw) -> np.ndarray:
        if len(clip) < self.minimum_frames:
            return clip
        codec = draw.choose(self.codecs)
        pixels = clip.shape[1] * clip.shape[2]
        if self.rate == "per_pixel":
            per_pixel = float(np.exp(draw.uniform((np.log(self.bits[0]), np.log(self.bits[1])))))
        else:
            per_pixel = draw.uniform(self.bits) / pixels
        bits_per_frame = max(round(per_pixel * pixels), 1)
        budget = {"bits_per_frame": bits_per_frame, "bits_per_pixel": per_pixel}
        draw.record.append({"op": "video_codec", "codec": codec, **budget})
        frames = [to_bytes(frame) for frame in clip]
        frames = through_codec(frames, codec, bits_per_frame=bits_per_frame, is_strict=self.rate == "per_pixel")
        result = np.empty_like(clip)
        for frame, target in zip(frames, result, strict=True):
            np.divide(frame, np.float32(255), out=target)
        return result


def _through_jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    # OpenCV orders channels BGR; encoding RGB would swap the chroma weights.
    blue_first = cv2.cvtColor(to_bytes(frame), cv2.COLOR_RGB2BGR)
    is_encoded, data = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert is_encoded, f"JPEG encoding failed at quality {quality} and shape {frame.shape}"
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
