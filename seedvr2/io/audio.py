"""The sound of one file carried into another: packets copied as they are, re-encoded only where they do not fit."""

from fractions import Fraction
from pathlib import Path

import av

from seedvr2.io.streams import StreamCopy, source_origin


class AudioCopy:
    """All sound of `source`, written to `output` in step with its pictures; memory does not grow with the length.

    `streams` counts the sound streams; `reencoded` names the codecs that the container does not take. Create it before
    the header of `output` is written.
    """

    def __init__(self, source: Path, output: av.container.OutputContainer):
        self.origin = source_origin(source) or Fraction(0)  # the source's time, in seconds, that becomes 0
        self._copy = StreamCopy(source, output, origin=self.origin, kinds=("audio",))
        self.streams = self._copy.count
        self.reencoded = self._copy.reencoded

    def advance(self, until: Fraction | None) -> None:
        """Write the sound up to a time of the output in seconds; None writes everything that is left."""
        self._copy.advance(until)

    def close(self) -> None:
        """Close the source."""
        self._copy.close()
