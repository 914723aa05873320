"""How a run spends memory, from the fastest way to the smallest."""

from collections.abc import Iterator
from typing import NamedTuple

BUSY = 4_000_000  # pixels that keep any device busy: more per call of the autoencoder gain nothing
MOST_CHUNK = 8
SHARES = (0.75, 0.5, 0.25, 0.0)  # of the generator's blocks that stay on the device


class Settings(NamedTuple):
    """window: latent frames per generator call, the only one that changes results. chunk: latent frames per
    autoencoder call. resident: generator blocks that stay on the device, None for all.
    """

    window: int
    chunk: int = 1
    resident: int | None = None


def ladder(first: Settings, *, blocks: int, offload: bool, windows: bool) -> Iterator[Settings]:
    """Settings that need less and less memory, from `first` on. blocks: of the generator. offload: whether blocks may
    leave the device. windows: whether the window may shrink, which comes last.
    """
    yield first
    while first.chunk > 1:
        first = first._replace(chunk=first.chunk // 2)
        yield first
    for share in SHARES if offload else ():
        stay = int(blocks * share)
        if first.resident is None or stay < first.resident:
            first = first._replace(resident=stay)
            yield first
    while windows and first.window > 2:
        first = first._replace(window=first.window // 2 + 1)
        yield first


def busy_chunk(height: int, width: int) -> int:
    """Latent frames per call with which the autoencoder has enough to do."""
    chunk = 1
    while chunk < MOST_CHUNK and 2 * chunk * 4 * height * width <= BUSY:
        chunk *= 2
    return chunk
