"""Keeping memory that was freed, instead of returning it to the system and asking for it again page by page."""

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # parameters of mallopt in malloc.h
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process hold on to the memory of its largest moment; False where the C library offers no such choice.

    Clips are hundreds of megabytes that live for milliseconds. By default each one is fetched from the system anew,
    which costs a third of the time of a degraded pair. The largest moment itself does not grow.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, LARGEST))
