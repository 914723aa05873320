"""Exact windows of a video by frame number: seek to the keyframe before, decode, and check the time stamps."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import av
import numpy as np

from seedvr2.errors import UserError
from seedvr2.io.reader import Video, existing_file, main_stream, open_container, open_video, rgb


class Landmark(NamedTuple):
    """A known frame of a video, such as the first of a shot: its number and its time stamp, None if it has none.

    `fps` are the frames per second from there on, 0 where they are unknown or uneven.
    """

    number: int
    pts: int | None
    fps: float = 0.0


def read_beyond(
    path: str | Path, landmark: Landmark, skip: int, count: int, *, file: IO[bytes] | None = None, threads: int = 0
) -> np.ndarray:
    """`count` frames from the one on that comes `skip` frames after a landmark: uint8 (count,H,W,3) RGB.

    Equal to the same frames of `read_frames`; no more of the file is read than a seek needs, so films may be long.
    `file`: see `Video`. Raises UserError if there are fewer frames, or damaged ones or another size among them.
    """

    def attempt(way: Callable[[Video], Iterator[av.VideoFrame] | None]) -> list[av.VideoFrame]:
        if file is not None:
            file.seek(0)
        with open_video(path, file=file, threads=threads) as video:
            frames = list(islice(way(video) or (), count))
            return [] if any(frame.is_corrupt for frame in frames) else [rgb(frame) for frame in frames]

    ways = [lambda video: islice(video.decoded(), landmark.number + skip, None)]
    if landmark.pts is not None:
        ways.insert(0, lambda video: _after_stamp(video, landmark.pts, skip))
        if landmark.fps:
            ways.insert(0, lambda video: _at_rate(video, landmark, skip))
    for way in ways:
        frames = attempt(way)
        if len(frames) == count and len({frame.shape for frame in frames}) == 1:
            return np.stack(frames)
    first = landmark.number + skip
    raise UserError(f"{path} is damaged or changes its size in frames {first} to {first + count - 1}; leave it out")


def _at_rate(video: Video, landmark: Landmark, skip: int) -> Iterator[av.VideoFrame] | None:
    # Frame numbers from time stamps; it ends at the first frame that is not where the rate puts it.
    per_frame = 1 / (landmark.fps * float(video.info.time_base))
    if not video.seek(landmark.pts + round(skip * per_frame)):
        return None

    def frames() -> Iterator[av.VideoFrame]:
        wanted = skip
        for frame in video.decoded():
            if frame.pts is None:
                return
            number = round((frame.pts - landmark.pts) / per_frame)
            if number < wanted:
                continue
            if number > wanted:
                return
            yield frame
            wanted += 1

    return frames()


def _after_stamp(video: Video, pts: int, skip: int) -> Iterator[av.VideoFrame] | None:
    # Count from the landmark on, which has to be met.
    if not video.seek(pts):
        return None

    def frames() -> Iterator[av.VideoFrame]:
        decoded = video.decoded()
        for frame in decoded:
            if frame.pts is None or frame.pts > pts:
                return
            if frame.pts == pts:
                break
        else:
            return
        if skip == 0:
            yield frame
        yield from islice(decoded, max(skip - 1, 0), None)

    return frames()


def count_frames(path: str | Path, *, threads: int = 0) -> int:
    """The number of frames of an undamaged video, from its packets where they tell it, else by decoding."""
    return len(_frame_times(*_identity(path), threads))


def read_window(path: str | Path, start: int, count: int, *, threads: int = 0) -> np.ndarray:
    """Frames start … start+count-1 as uint8 (count,H,W,3) RGB, equal to the same frames of `read_frames`.

    Raises UserError if the file has fewer frames, is damaged or changes its size inside the window.
    """
    times = _frame_times(*_identity(path), threads)
    if start < 0 or count < 1 or start + count > len(times):
        raise UserError(f"{path} has {len(times)} frames, so frames {start} to {start + count - 1} cannot be read")
    wanted = times[start : start + count]
    frames = None if None in wanted else _by_seeking(path, wanted, threads)
    if frames is None:
        frames = _by_counting(path, start, count, threads)
    if len(frames) < count or len({frame.shape for frame in frames}) > 1:
        raise UserError(f"{path} is damaged or changes its size in frames {start} to {start + count - 1}; leave it out")
    return np.stack(frames)


def _by_seeking(path: str | Path, wanted: Sequence[int], threads: int) -> list[np.ndarray] | None:
    # None when a container's index leads to the wrong place or the keyframe cannot stand alone (open groups).
    with open_video(path, threads=threads) as video:
        if not video.seek(wanted[0]):
            return None
        frames = []
        for frame in video.decoded():
            if frame.pts is None or frame.pts < wanted[0]:
                continue
            if frame.pts != wanted[len(frames)] or frame.is_corrupt:
                return None
            frames.append(rgb(frame))
            if len(frames) == len(wanted):
                return frames
    return None


def _by_counting(path: str | Path, start: int, count: int, threads: int) -> list[np.ndarray]:
    with open_video(path, threads=threads) as video:
        return [rgb(frame) for frame in islice(video.decoded(), start, start + count) if not frame.is_corrupt]


def _identity(path: str | Path) -> tuple[Path, int, int]:
    file = existing_file(path)
    status = file.stat()
    return file, status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4096)
def _frame_times(path: Path, _modified: int, _size: int, threads: int) -> tuple[int | None, ...]:
    # The modification time and size are part of the cache key, so that a replaced file is read anew.
    times = _packet_times(path)
    with open_video(path, threads=threads) as video:
        if times and times[0] == video.info.start:
            return times
        return tuple(frame.pts for frame in video.decoded())


def _packet_times(path: Path) -> tuple[int, ...] | None:
    # None where packets do not tell frames: no time stamps, or packets that an edit list or damage removes.
    times = []
    try:
        with open_container(Path(path)) as container:
            for packet in container.demux(main_stream(container, path)):
                if packet.size == 0:
                    continue
                if packet.pts is None or packet.is_discard or packet.is_corrupt:
                    return None
                times.append(packet.pts)
    except av.FFmpegError:
        return None
    return tuple(sorted(times)) if len(set(times)) == len(times) else None
