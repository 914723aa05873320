"""Time stamps of written frames: constant rates exactly on their grid, variable rates as in the source."""

import math
from collections.abc import Sequence
from fractions import Fraction

from seedvr2.errors import UserError

LARGEST_TICK_RATE = 2**31 - 1  # time bases are 32-bit rationals in FFmpeg
RESTART = Fraction(1, 2)  # seconds: time stamps that fall back by more begin anew, as in joined recordings


class FrameClock:
    """Turns the time stamps of a source into those of its copy, one frame at a time.

    A stamp that lies on the grid of the constant rate, up to the rounding of the source's own time base, is put exactly
    on it (Matroska stores milliseconds, which would turn 29.97 into 33, 33, 34). Any other stamp is kept, so that
    variable rates and dropped frames survive. Where stamps begin anew, what follows is put behind what came before;
    `restarts` counts that.
    """

    def __init__(self, rate: Fraction | None, *, time_base: Fraction | None = None, origin: Fraction | None = None):
        """rate: frames per second if known; time_base: seconds per unit of the source's stamps, None without stamps.

        origin: the source's time, in seconds, that becomes 0; None starts the first frame at 0. Raises UserError if
        neither rate nor time base is known.
        """
        if not rate and time_base is None:
            raise UserError("the frame rate of the input is unknown; store it in a container with time stamps first")
        self._rate = rate or None
        self._source_base = time_base
        self.time_base = _output_base(self._rate, time_base)
        self._origin = origin
        self._first: int | None = None
        self._count = 0
        self._last: int | None = None
        self._offset = 0  # in units of the source's stamps
        self._seen: list[int] = []  # the last two stamps
        self.restarts = 0

    def tick(self, pts: int | None) -> int:
        """The stamp of the next frame in units of `self.time_base`; a source stamp of None counts at the rate."""
        if pts is None or self._source_base is None:
            assert self._rate, "frames without time stamps need a rate"
            seconds = self._count / self._rate
        else:
            self._first = pts if self._first is None else self._first
            seconds = self._seconds(pts)
            if begins_anew(pts, self._seen, self._source_base):
                period = 1 / self._rate if self._rate else self.time_base
                self._offset += round((self.seconds(self._last) + period - seconds) / self._source_base)
                self.restarts += 1
                seconds = self._seconds(pts)
            self._seen = [*self._seen[-1:], pts]
        tick = round(seconds / self.time_base)
        if self._last is not None and tick <= self._last:
            tick = self._last + 1
        self._last = tick
        self._count += 1
        return tick

    @property
    def rate(self) -> Fraction | None:
        """Frames per second, None if unknown."""
        return self._rate

    @property
    def origin(self) -> Fraction:
        """The source's time, in seconds, that is 0 in the output; other streams of the source shift by it as well."""
        if self._origin is None and self._first is not None:
            return self._first * self._source_base
        return self._origin or Fraction(0)

    def seconds(self, tick: int) -> Fraction:
        """The time of a stamp that `tick` returned."""
        return tick * self.time_base

    def state(self) -> dict[str, object]:
        """What the clock has seen, as values that JSON holds."""
        return {
            "first": self._first,
            "count": self._count,
            "last": self._last,
            "offset": self._offset,
            "restarts": self.restarts,
            "seen": list(self._seen),
        }

    def restore(self, state: dict[str, object]) -> None:
        """Go on where a clock that was made with the same arguments and gave this `state` stopped."""
        self._first, self._count, self._last = state["first"], state["count"], state["last"]
        self._offset, self.restarts = state.get("offset", 0), state.get("restarts", 0)  # older runs have none
        self._seen = list(state.get("seen", ()))

    def _seconds(self, pts: int) -> Fraction:
        start = Fraction(0) if self._origin is None else self._first * self._source_base - self._origin
        return start + self._on_grid((pts + self._offset - self._first) * self._source_base)

    def _on_grid(self, seconds: Fraction) -> Fraction:
        if self._rate is None:
            return seconds
        nearest = round(seconds * self._rate) / self._rate
        tolerance = min(self._source_base, 1 / (4 * self._rate))
        return nearest if abs(nearest - seconds) <= tolerance else seconds


def begins_anew(stamp: int, seen: Sequence[int], base: Fraction) -> bool:
    """Whether a stamp begins anew after the last two that were `seen`, in units of `base` seconds.

    One that goes on from the one before the last says that the last one was wrong.
    """
    if not seen or (seen[-1] - stamp) * base <= RESTART:
        return False
    return len(seen) < 2 or not 0 <= (stamp - seen[0]) * base <= RESTART


def _output_base(rate: Fraction | None, source_base: Fraction | None) -> Fraction:
    # Fine enough for both the constant grid and the source's own stamps where 32 bits allow it.
    if rate is None:
        return source_base
    if source_base is None:
        return 1 / Fraction(rate.numerator)
    both = math.lcm(rate.numerator, source_base.denominator)
    return Fraction(1, both if both <= LARGEST_TICK_RATE else rate.numerator)
