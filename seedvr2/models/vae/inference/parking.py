"""Histories that wait in the memory of the host while another one is on the device."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from seedvr2.models.vae.causal import Carry

_HOST = torch.device("cpu")


def change_places(leaving: Iterable[Carry], coming: Carry, device: torch.device) -> None:
    """Bring a history to a device and others to the host, layer by layer, so that neither place ever holds much more
    than before or after.
    """
    going = [(history, layer) for history in leaving for layer in history.layers()]
    going = [(history, layer) for history, layer in going if history.tail(layer).device != _HOST]
    there = [layer for layer in coming.layers() if coming.tail(layer).device != device]
    room = sum(coming.tail(layer).nbytes for layer in there) - sum(h.tail(layer).nbytes for h, layer in going)

    def bring(room: float) -> float:
        while there and coming.tail(there[-1]).nbytes <= room:
            room -= _move(coming, there.pop(), device)
        return room

    room = bring(max(0, room))  # what the device will hold in addition
    for history, layer in going:
        room = bring(room + _move(history, layer, _HOST))
    bring(math.inf)


def park(histories: Iterable[Carry]) -> None:
    """Bring histories to the host."""
    for history in histories:
        for layer in history.layers():
            _move(history, layer, _HOST)


def _move(history: Carry, layer: nn.Module, device: torch.device) -> int:
    """Bytes of what a layer has there then."""
    history.keep(layer, history.tail(layer).to(device))
    return history.tail(layer).nbytes
