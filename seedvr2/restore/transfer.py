"""Frames between host and device while the device works: neither waits for the other before it has to.

CUDA copies in the background from and to memory that is never paged out; elsewhere a copy is done when it returns.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch

LATE = 4  # frames on their way back from CUDA while it works on those that follow


class _Landing(NamedTuple):
    frame: torch.Tensor | None
    arrived: torch.Event | None = None


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on a device."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def landed(frames: Iterable[torch.Tensor | None], *, late: int) -> Iterator[torch.Tensor | None]:
    """The frames on the CPU, in order; each is waited for after `late` more have been asked for. None stays None."""
    landing: deque[_Landing] = deque()
    for frame in frames:
        landing.append(_sent_back(frame))
        if len(landing) > late:
            yield _awaited(landing.popleft())
    while landing:
        yield _awaited(landing.popleft())


def _sent_back(frame: torch.Tensor | None) -> _Landing:
    if frame is None or not frame.is_cuda:
        return _Landing(frame if frame is None else frame.cpu())
    there = torch.empty_like(frame, device="cpu", pin_memory=True).copy_(frame, non_blocking=True)
    arrived = torch.Event(frame.device)
    arrived.record(torch.accelerator.current_stream(frame.device))  # which need not be that of the current device
    return _Landing(there, arrived)


def _awaited(landing: _Landing) -> torch.Tensor | None:
    if landing.arrived is not None:
        landing.arrived.synchronize()
    return landing.frame
