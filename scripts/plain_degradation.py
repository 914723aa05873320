"""The plain way to make a training pair: frame by frame with PyAV, numpy and OpenCV, as most pipelines are written.

`bench_data.py` compares with it. It applies parameters that were drawn before, in their order; every step calls one
well-known function of a library for one frame. Pictures are float32 throughout.
"""

from fractions import Fraction
from typing import NamedTuple

import av
import cv2
import numpy as np
import torch

from seedvr2.data.degradation.encoder import through_codec
from seedvr2.data.degradation.kernels import gaussian_kernel, sinc_kernel

INTERPOLATIONS = {"bilinear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA, "bicubic": cv2.INTER_CUBIC}


class Cut(NamedTuple):
    """Which part of a video is the clean clip: frames from `start` on, a rectangle, its final size, and flips."""

    path: str
    start: int
    count: int
    top: int
    left: int
    height: int
    width: int
    size: tuple[int, int]
    flips: tuple[bool, bool, bool]  # time, vertical, horizontal


def plain_pair(cut: Cut, record: list[dict], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """The clean clip of a cut, and the low-quality one of the recorded parameters: both (T,3,H,W) in [-1,1]."""
    clean = clean_frames(cut)
    frames = degraded_frames(clean, record, rng)
    return to_tensor(clean), to_tensor([enlarged(frame, cut.size) for frame in frames])


def clean_frames(cut: Cut) -> list[np.ndarray]:
    """Float32 frames (H,W,3) in [0,1]."""
    frames = []
    with av.open(cut.path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        ticks = 1 / (Fraction(stream.average_rate) * Fraction(stream.time_base))
        first = round(cut.start * ticks) + (stream.start_time or 0)
        container.seek(first, stream=stream)
        for picture in container.decode(stream):
            if picture.pts < first:
                continue
            matrix = "ITU709" if picture.colorspace == 2 and picture.height >= 720 else None
            array = picture.to_ndarray(format="rgb24", src_colorspace=matrix)
            part = array[cut.top : cut.top + cut.height, cut.left : cut.left + cut.width]
            frame = part.astype(np.float32) / 255
            if frame.shape[:2] != cut.size:
                frame = cv2.resize(frame, cut.size[::-1], interpolation=cv2.INTER_AREA)
            frames.append(frame[:: -1 if cut.flips[1] else 1, :: -1 if cut.flips[2] else 1])
            if len(frames) == cut.count:
                break
    return frames[::-1] if cut.flips[0] else frames


def degraded_frames(frames: list[np.ndarray], record: list[dict], rng: np.random.Generator) -> list[np.ndarray]:
    """The frames after all operations of a record, in [0,1] on the 8-bit grid."""
    for entry in record:
        match entry["op"]:
            case "blur":
                frames = [cv2.filter2D(frame, -1, kernel_of(entry, time)) for time, frame in enumerate(frames)]
            case "resize" | "target_resize":
                size, by = tuple(entry["size"])[::-1], INTERPOLATIONS[entry["by"]]
                frames = [cv2.resize(frame, size, interpolation=by) for frame in frames]
            case "noise" if entry["kind"] == "gaussian":
                sigmas = zip(frames, entry["sigma"], strict=True)
                frames = [with_gaussian_noise(frame, sigma, entry["gray"], rng) for frame, sigma in sigmas]
            case "noise":
                scales = zip(frames, entry["scale"], strict=True)
                frames = [with_poisson_noise(frame, scale, entry["gray"], rng) for frame, scale in scales]
            case "jpeg":
                frames = [as_jpeg(*pair) for pair in zip(frames, entry["quality"], strict=True)]
            case "video_codec":
                eight_bit = [to_bytes(frame) for frame in frames]
                decoded = through_codec(eight_bit, entry["codec"], bits_per_frame=entry["bits_per_frame"])
                frames = [frame.astype(np.float32) / 255 for frame in decoded]
            case "order":
                pass
            case other:
                raise NotImplementedError(f"the plain pipeline has no {other}")
    return [to_bytes(frame).astype(np.float32) / 255 for frame in frames]


def kernel_of(entry: dict, time: int) -> np.ndarray:
    """The blur kernel of a frame."""
    if entry["kind"] == "sinc":
        return sinc_kernel(entry["size"], entry["cutoff"][time])
    sigma_x = entry["sigma_x"][time]
    sigma_y = entry["sigma_y"][time] if "sigma_y" in entry else sigma_x
    rotation = entry["rotation"][time] if "rotation" in entry else 0.0
    beta = entry["beta"][time] if "beta" in entry else 1.0
    is_plateau = entry["kind"].startswith("plateau")
    return gaussian_kernel(entry["size"], (sigma_x, sigma_y), rotation=rotation, beta=beta, is_plateau=is_plateau)


def with_gaussian_noise(frame: np.ndarray, sigma: float, gray: bool, rng: np.random.Generator) -> np.ndarray:
    """The frame with normal noise of deviation sigma/255."""
    shape = (*frame.shape[:2], 1 if gray else 3)
    return frame + rng.normal(0, sigma / 255, shape).astype(np.float32)


def with_poisson_noise(frame: np.ndarray, scale: float, gray: bool, rng: np.random.Generator) -> np.ndarray:
    """The frame with scaled shot noise: as many photons at white as there are grey levels, up to a power of two."""
    levels = to_bytes(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None] if gray else frame)
    photons = 2 ** np.ceil(np.log2(len(np.unique(levels))))
    clean = levels.astype(np.float32) / 255
    noise = rng.poisson(clean * photons).astype(np.float32) / np.float32(photons) - clean
    return frame + noise * np.float32(scale)


def as_jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    """The frame after JPEG compression."""
    picture = cv2.cvtColor(to_bytes(frame), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(np.float32) / 255


def enlarged(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The frame at a larger size."""
    return cv2.resize(frame, size[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)


def to_bytes(frame: np.ndarray) -> np.ndarray:
    """The frame with 8 bits."""
    return (frame.clip(0, 1) * 255).round().astype(np.uint8)


def to_tensor(frames: list[np.ndarray]) -> torch.Tensor:
    """Frames as (T,3,H,W) in [-1,1]."""
    return torch.from_numpy(np.stack(frames).transpose(0, 3, 1, 2).copy()) * 2 - 1
