"""Pictures of a video file: whole frames, upright, with their transparency, in one size from first to last."""

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from seedvr2.errors import UserError
from seedvr2.io.deinterlace import deinterlaced
from seedvr2.io.orientation import Orientation, side_data_of
from seedvr2.io.picture import UNTAGGED, MediaInfo, Picture
from seedvr2.io.reader import Video
from seedvr2.io.samples import (
    BT709,
    colors_of,
    depth_note,
    is_convertible,
    layout_of,
    matrix_of,
    picture_samples,
    siting_of,
)
from seedvr2.io.truncation import is_cut_short

CURVES = {16: "PQ", 18: "HLG"}
LOST = {  # what comes with frames and is not carried over
    "MASTERING_DISPLAY_METADATA": "the brightness of the mastering display (HDR10)",
    "CONTENT_LIGHT_LEVEL": "the brightness of the content (HDR10)",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "DOVI_METADATA": "Dolby Vision metadata",
    "A53_CC": "what the pictures hold of closed captions",
}

_log = logging.getLogger(__name__)


class VideoSource:
    """An open video file; `notes` grows while it is read."""

    def __init__(self, path: Path, *, bits: int | None, deinterlace: bool, rate: Fraction | None, threads: int):
        """rate: frames per second of a stream without time stamps, ignored elsewhere."""
        self._deinterlace = deinterlace
        self.notes: list[str] = []
        self._video = Video(path, threads=threads, in_order=True)
        try:
            self._orientation = Orientation.of(self._video.first)
            if self._video.alpha_decoder:
                self._use_alpha_decoder(path, threads)
            self.info = self._describe(self._video.first, rate)
            self._bits = bits or (8 if self.info.bits == 8 else 16)
            self._siting = siting_of(self.info.codec)
            if not is_convertible(self._video.first):
                raise UserError(
                    f"{path} stores its colours by matrix {self.info.colors.matrix} of H.273, which is not supported; "
                    "convert it to BT.709 first"
                )
            self._note_decisions(self._video.first)
        except BaseException:
            self._video.close()
            raise

    @property
    def damaged(self) -> int:
        """How many packets and frames had errors so far."""
        return self._video.damaged

    @property
    def is_truncated(self) -> bool:
        """Whether reading ended before the end of the file; known when it ended."""
        return self._video.is_truncated

    def pictures(self) -> Iterator[Picture]:
        """Every frame that the decoder gives, broken ones too."""
        frames = self._watched(self._video.decoded())
        for frame in deinterlaced(frames) if self._deinterlace else frames:
            rgb, alpha = picture_samples(frame, self._bits, self._siting)
            if not self.info.has_alpha:
                alpha = None
            elif alpha is None:
                alpha = np.full(rgb.shape[:2], 2**self._bits - 1, rgb.dtype)
            yield Picture(self._fitted(rgb), None if alpha is None else self._fitted(alpha), frame.pts)
        self._note_damage()

    def close(self) -> None:
        """Close the file."""
        self._video.close()

    def _use_alpha_decoder(self, path: Path, threads: int) -> None:
        try:
            av.codec.Codec(self._video.alpha_decoder, "r")
        except ValueError:
            self._note(f"the transparency was left out, because this build of FFmpeg lacks {self._video.alpha_decoder}")
            return
        decoder = self._video.alpha_decoder
        self._video.close()
        self._video = Video(path, decoder=decoder, threads=threads, in_order=True)

    def _describe(self, first: av.VideoFrame, rate: Fraction | None) -> MediaInfo:
        video, layout = self._video.info, layout_of(first.format.name)
        height, width = first.height, first.width
        aspect = video.sample_aspect
        if self._orientation.is_transposed:
            height, width = width, height
        if self._orientation.is_transposed != bool(video.rotation % 180):
            aspect = 1 / aspect  # the frames of this decoder do not carry the rotation
        return MediaInfo(
            path=video.path,
            kind="video",
            width=width,
            height=height,
            bits=layout.depth,
            has_alpha=layout.has_alpha,
            rate=(rate or video.rate) if first.pts is None else video.rate,
            time_base=video.time_base,
            frames=video.frames or None,
            duration=video.duration,
            start=first.pts,
            sample_aspect=aspect,
            colors=colors_of(first),
            codec=video.codec,
            pixel_format=first.format.name,
            is_interlaced=first.interlaced_frame,
            notes=(),
        )

    def _fitted(self, picture: np.ndarray) -> np.ndarray:
        upright = self._orientation.apply(picture)
        height, width = upright.shape[:2]
        if (height, width) == (self.info.height, self.info.width):
            return upright
        self._note(
            f"the picture changes its size to {width}x{height} on the way and was resized to "
            f"{self.info.width}x{self.info.height}"
        )
        shrinks = height >= self.info.height and width >= self.info.width
        method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        return cv2.resize(upright, (self.info.width, self.info.height), interpolation=method)

    def _watched(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for frame in frames:
            if frame.interlaced_frame:
                self._note_interlacing()
            yield frame

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def _note_interlacing(self) -> None:
        self._note(
            "the frames are interlaced and were deinterlaced, one whole frame for each"
            if self._deinterlace
            else "the frames are interlaced and were left so"
        )

    def _note_decisions(self, first: av.VideoFrame) -> None:
        layout, colors = layout_of(first.format.name), self.info.colors
        if self._video.streams > 1:
            self._note(f"only one of {self._video.streams} video streams was read, the one marked as default if any is")
        if first.interlaced_frame:
            self._note_interlacing()
        if self._orientation.is_oblique:
            self._note("the file asks for an oblique rotation, of which the nearest quarter turn was applied")
        if colors.is_high_dynamic_range:
            self._note(f"the samples follow the {CURVES[colors.curve]} curve and were not tone-mapped")
        if colors.matrix == UNTAGGED and not (layout.is_rgb or layout.is_gray):
            matrix = "BT.709" if matrix_of(first) == BT709 else "BT.601"
            self._note(f"the colours carry no matrix tag and were read as {matrix}")
        for kind in sorted({data.type.name for data in side_data_of(first)} & LOST.keys()):
            self._note(f"{LOST[kind]} is left out")
        if first.pts is None:
            self._note("the stream has no time stamps, so its frames are taken as evenly spaced")
        self.notes += depth_note(layout.depth, self._bits)

    def _note_damage(self) -> None:
        if not self._video.is_truncated and is_cut_short(self.info.path):
            self._video.is_truncated = True
            _log.warning("%s ends early; what it still holds was read", self.info.path)
        if self._video.is_truncated:
            self._note("the file ends early, and what it still holds was read")
        if self._video.damaged:
            self._note(f"decoding met {self._video.damaged} errors; damaged frames were kept")
