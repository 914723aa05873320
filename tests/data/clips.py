"""Pictures, clips and files of known content, for the tests of the index."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

HEIGHT, WIDTH = 96, 128


def texture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A detailed picture without black or flat parts, uint8 (height, width, 3); seeds give different pictures."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.uniform(0, 255, (4, 5, 3)).astype(np.float32), (width, height))
    fine = cv2.GaussianBlur(rng.normal(0, 90, (height, width, 3)).astype(np.float32), (0, 0), 1.5)
    return np.clip(coarse + 2 * fine, 30, 255).astype(np.uint8)


def pan(seed: int, frames: int, *, height: int = HEIGHT, width: int = WIDTH, step: int = 2) -> list[np.ndarray]:
    """A camera that moves by `step` pixels per frame over a texture."""
    wide = texture(seed, height, width + step * frames)
    return [wide[:, step * time : step * time + width].copy() for time in range(frames)]


def with_bars(frames: list[np.ndarray], top: int, bottom: int, left: int, right: int) -> list[np.ndarray]:
    """The frames with black edges painted over them."""
    barred = [np.zeros_like(frame) for frame in frames]
    height, width = frames[0].shape[:2]
    for black, frame in zip(barred, frames, strict=True):
        area = np.s_[top : height - bottom, left : width - right]
        black[area] = frame[area]
    return barred


def write_clip(
    path: Path,
    frames: list[np.ndarray],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rate: Fraction | int = 25,
    stamps: list[int] | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """A video of uint8 (H,W,3) frames; `stamps` are time stamps in 1/90000 s in place of a constant rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.codec_context.thread_count = pixels, 1
        if stamps is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 90000)
        for number, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 90000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return rotated(path, rotation) if rotation else path


def rotated(path: Path, degrees: int) -> Path:
    """The same video with a display matrix in its header."""
    original = path.rename(path.with_name(f"upright_{path.name}"))
    with av.open(str(original)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(degrees)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    original.unlink()
    return path


def write_sound(path: Path, *, cover: bool = False) -> Path:
    """An MP4 of sound alone, or with a cover picture."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48000, layout="mono")
        if cover:
            picture = container.add_stream("mjpeg", rate=25)
            picture.height, picture.width, picture.pix_fmt = HEIGHT, WIDTH, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), format="s16", layout="mono")
        wave.sample_rate, wave.pts = 48000, 0
        container.mux(sound.encode(wave))
        container.mux(sound.encode(None))
        if cover:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(texture(0), format="rgb24")))
            container.mux(picture.encode(None))
    return path
