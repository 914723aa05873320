"""How a run spends memory, from the fastest way to the smallest."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import NamedTuple

from seedvr2.models.vae.autoencoder import TIME
from seedvr2.models.vae.inference import LADDER, Tiling

BUSY = 4_000_000  # pixels that keep any device busy: more per call of the autoencoder gain nothing
MOST_CHUNK = 8
SHARES = (0.75, 0.5, 0.25, 0.0)  # of the generator's blocks that stay on the device


class Settings(NamedTuple):
    """window: latent frames per generator call, the only one that changes results. chunk: latent frames per
    autoencoder call. tiling: of the autoencoder. resident: generator blocks that stay on the device, None for all.
    """

    window: int
    chunk: int = 1
    tiling: Tiling = LADDER[0]
    resident: int | None = None

    def describe(self) -> str:
        """In words."""
        stay = "" if self.resident is None else f", {self.resident} generator blocks on the device"
        strips = "" if self.tiling == LADDER[0] else f", {_words(self.tiling)}"
        calls = f"{TIME * self.chunk} frames per autoencoder call"
        return f"windows of {frames_of(self.window)} frames, {calls}{strips}{stay}"

    def facts(self) -> dict:
        """JSON-able."""
        return {**self._asdict(), "tiling": asdict(self.tiling)}

    def change(self, other: "Settings") -> str:
        """What `other` has otherwise, in words."""
        words = []
        if other.chunk != self.chunk:
            words.append(f"{TIME * other.chunk} instead of {TIME * self.chunk} frames per autoencoder call")
        if other.tiling != self.tiling:
            words.append(f"the autoencoder with {_words(other.tiling)}")
        if other.resident != self.resident:
            words.append(f"only {other.resident} generator blocks on the device")
        if other.window != self.window:
            words.append(f"windows of {frames_of(other.window)} instead of {frames_of(self.window)} frames")
        return ", ".join(words)


def _words(tiling: Tiling) -> str:
    strips = "" if tiling.workspace is None else f"strips of {tiling.workspace >> 20} MiB"
    frames = "" if tiling.frames is None else f"{tiling.frames} frame{'s' * (tiling.frames > 1)} at a time"
    host = "histories on the host" if tiling.host else "the idle history on the host" if tiling.parks else ""
    return ", ".join(filter(None, (strips, frames, host)))


def on_device(tiling: Tiling) -> Tiling:
    """The same with all histories on the device."""
    return replace(tiling, parks=False, host=False)


def frames_of(latents: int) -> int:
    """Frames of a window of latent frames."""
    return TIME * (latents - 1) + 1


def overlap_of(window: int) -> int:
    """Latent frames that windows share."""
    return min(1, window - 1)


def ladder(
    first: Settings, *, blocks: int, offload: bool, windows: bool, is_tiled: bool = True, is_split: bool = False
) -> Iterator[Settings]:
    """Settings that need less and less memory than `first`. blocks: of the generator. offload: whether
    blocks and histories may leave the device, which makes no sense on a CPU. windows: whether the window may shrink,
    which comes last. is_tiled: whether the autoencoder is one that heeds its tiling. is_split: whether its histories
    are passed on between devices, so that they neither leave them nor go frame by frame.
    """
    while first.chunk > 1:
        first = first._replace(chunk=first.chunk // 2)
        yield first
    tilings = LADDER if offload else [replace(on_device(tiling), workspace=None) for tiling in LADDER]
    tilings = [replace(on_device(tiling), frames=None) for tiling in tilings] if is_split else tilings
    tilings = list(dict.fromkeys(tilings))  # a CPU is fast with the smallest strips already
    below = tilings[tilings.index(first.tiling) + 1 :] if is_tiled else []
    for tiling in below:
        if not tiling.needs_host:
            first = first._replace(tiling=tiling)
            yield first
    for share in SHARES if offload else ():
        stay = int(blocks * share)
        if first.resident is None or stay < first.resident:
            first = first._replace(resident=stay)
            yield first
    for tiling in below:
        if tiling.needs_host:
            first = first._replace(tiling=tiling)
            yield first
    while windows and first.window > 2:
        first = first._replace(window=first.window // 2 + 1)
        yield first


def busy_chunk(height: int, width: int) -> int:
    """Latent frames per call with which the autoencoder has enough to do."""
    chunk = 1
    while chunk < MOST_CHUNK and 2 * chunk * TIME * height * width <= BUSY:
        chunk *= 2
    return chunk
