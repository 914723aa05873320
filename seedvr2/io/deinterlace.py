"""Interlaced frames as whole ones: FFmpeg's bwdif, one frame for each frame, with the time stamps they had."""

from collections.abc import Iterable, Iterator

import av

from seedvr2.io.samples import planar

FEWEST_LINES, FEWEST_COLUMNS = 4, 3  # of bwdif


def deinterlaced(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """The same number of frames with the same `pts`; those not marked interlaced stay as they are.

    The field order follows each frame's mark. Fields are interpolated from their neighbours in time as well, so a frame
    comes out after the next one went in. Frames of fewer than 4 lines or 3 columns stay interlaced.
    """
    weaver = None
    for frame in map(planar, frames):  # the filter would convert packed samples, and their range with them
        if weaver is not None and not weaver.takes(frame):
            yield from weaver.finish()
            weaver = None
        is_small = frame.height < FEWEST_LINES or frame.width < FEWEST_COLUMNS
        if weaver is None and (is_small or not frame.interlaced_frame):
            yield frame
            continue
        weaver = weaver or _Weaver(frame)
        yield from weaver.push(frame)
    if weaver is not None:
        yield from weaver.finish()


class _Weaver:
    """A running filter for frames of one size and format."""

    def __init__(self, frame: av.VideoFrame):
        self._kind = (frame.format.name, frame.width, frame.height)
        self._stamps: list[int | None] = []
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format.name, time_base=frame.time_base
        )
        # One frame per frame, and only for those marked interlaced.
        bwdif = self._graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        source.link_to(bwdif)
        bwdif.link_to(self._graph.add("buffersink"))
        self._graph.configure()

    def takes(self, frame: av.VideoFrame) -> bool:
        """Whether a frame is of the size and format of the others."""
        return (frame.format.name, frame.width, frame.height) == self._kind

    def push(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """Take a frame (None at the end) and yield those that are ready."""
        if frame is not None:
            self._stamps.append(frame.pts)
        self._graph.push(frame)
        while True:
            try:
                ready = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            ready.pts = self._stamps.pop(0)
            yield ready

    def finish(self) -> Iterator[av.VideoFrame]:
        """Yield what is left."""
        yield from self.push(None)
        assert not self._stamps, f"{len(self._stamps)} frames were lost in deinterlacing"
