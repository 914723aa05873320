"""Which clips are usable: one rule per reason, applied to what was measured, so that limits change without decoding."""

from dataclasses import dataclass

from seedvr2.data.indexing.probe import Facts, Shot
from seedvr2.errors import UserError

REASONS = ("hdr", "interlaced", "tiny", "short", "blank", "static", "letterboxed", "blurred", "slow", "duplicate")
# Nothing keeps what was not decoded whole: foreign, unreadable, truncated, corrupt, crashed, stuck.


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Limits of usable clips; `keep` names reasons that do not reject. Raises UserError for an unknown reason.

    min_side: shorter side in pixels; min_frames: of a clip; min_contrast: standard deviation of the luma in grey
    levels; max_still: share of frames that equal the one before; max_bar: black bar in percent of its side;
    min_sharpness and min_motion: see `Scores` (0 = no limit, because right values depend on the material).
    """

    min_side: int = 256
    min_frames: int = 5
    min_contrast: float = 4.0
    max_still: float = 0.9
    max_bar: float = 1.5
    min_sharpness: float = 0.0
    min_motion: float = 0.0
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for reason in self.keep:
            if reason not in REASONS:
                raise UserError(f"{reason!r} is no reason that can be kept; choose from {', '.join(REASONS)}")

    def reject(self, facts: Facts, shot: Shot, *, is_still: bool) -> tuple[str, str] | None:
        """The first reason against a shot, and its figures; or None. `is_still`: images neither move nor last."""
        for reason, detail in self._complaints(facts, shot, is_still):
            if reason not in self.keep:
                return reason, detail
        return None

    def _complaints(self, facts: Facts, shot: Shot, is_still: bool) -> list[tuple[str, str]]:
        scores, found = shot.scores, []
        if facts.is_hdr:
            found.append(("hdr", "PQ or HLG, which would need tone mapping"))
        if facts.is_interlaced:
            found.append(("interlaced", "frames of two fields"))
        if min(shot.width, shot.height) < self.min_side:
            found.append(("tiny", f"{shot.width}x{shot.height}, wanted at least {self.min_side} on the shorter side"))
        if not is_still and shot.frames < self.min_frames:
            found.append(("short", f"{shot.frames} of at least {self.min_frames} frames"))
        if scores.contrast < self.min_contrast:
            detail = f"contrast {scores.contrast:.1f}, wanted at least {self.min_contrast:g} grey levels"
            found.append(("blank", detail))
        if not is_still and scores.still > self.max_still:
            detail = f"{scores.still:.0%} of frames repeat the one before, allowed {self.max_still:.0%}"
            found.append(("static", detail))
        sides = (shot.height, shot.height, shot.width, shot.width)
        if any(100 * bar > self.max_bar * side for bar, side in zip(scores.bars, sides, strict=True)):
            bars = "/".join(map(str, scores.bars))
            found.append(("letterboxed", f"black bars of {bars} pixels at top/bottom/left/right"))
        if scores.sharpness < self.min_sharpness:
            found.append(("blurred", f"sharpness {scores.sharpness:.1f}, wanted at least {self.min_sharpness:g}"))
        if not is_still and scores.motion < self.min_motion:
            found.append(("slow", f"motion {scores.motion:.2f} %, wanted at least {self.min_motion:g} %"))
        return found
