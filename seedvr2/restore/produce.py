"""The outputs of a model for the clips of a benchmark: one lossless file each, with what they took."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from seedvr2.io.files import disk_errors, write_json
from seedvr2.io.writer import VideoWriter
from seedvr2.restore.device import forget_peak, peak_memory
from seedvr2.restore.film import Restores
from seedvr2.restore.resize import Size, as_samples, resize_frame

RATE = Fraction(24)  # of clips without one; what is written is compared frame by frame


def produce(
    read: Callable[[], Iterable[np.ndarray]],
    enlarged: tuple[int, int],
    part: tuple[int, int, int, int],
    restorer: Restores,
    path: Path,
    key: Mapping,
    *,
    watch: Callable[[Iterator], Iterator] = iter,
) -> dict:
    """Restore a clip as one shot into an FFV1 file, unless it is there already, made of the same `key`.

    read: its LQ frames, uint8 (H,W,3), which are resized to `enlarged` (height, width), of which `part` (top, left,
    height, width) is cut and restored. Returns seconds (reading and writing left out), peak_mb (of GPU memory, or of
    the process) and frames. Raises UserError if the disk is full.
    """
    record = path.with_suffix(".json")
    told = _read(record)
    if told.get("key") == json.loads(json.dumps(key)) and path.is_file() and told.get("bytes") == path.stat().st_size:
        return told["speed"]
    device = getattr(restorer, "device", torch.device("cpu"))
    top, left, height, width = part
    forget_peak(device)
    restorer.seconds.clear()
    count = 0
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        record.unlink(missing_ok=True)
        with VideoWriter(path, width=width, height=height, rate=RATE, is_lossless=True) as writer:
            lq = (resize_frame(frame, Size(*enlarged))[:, top : top + height, left : left + width] for frame in read())
            for frame in watch(restorer.restore(lq)):
                writer.write(as_samples(frame, np.uint8))
                count += 1
        seconds = {name: value for name, value in restorer.seconds.items() if name != "wait for frames"}
        peak = peak_memory(device)
        speed = {"seconds": sum(seconds.values()), "peak_mb": peak and peak / 1e6, "frames": count, "stages": seconds}
        told = {"key": key, "speed": speed, "bytes": path.stat().st_size, "at": time.time()}
        write_json(record, told)
    return speed


def _read(record: Path) -> dict:
    try:
        told = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
