"""Histories that wait in the memory of the host while another one is on the device."""

from collections.abc import Iterable

import torch

from seedvr2.models.vae.causal import Carry

_HOST = torch.device("cpu")


def change_places(leaving: Iterable[Carry], coming: Carry, device: torch.device) -> None:
    """Bring a history to a device and others to the host, layer by layer, so that neither place ever holds much more
    than before or after.
    """
    there = [layer for layer in coming.layers() if coming.tail(layer).device != device]
    room = 0
    for history in leaving:
        for layer in history.layers():
            if history.tail(layer).device == _HOST:
                continue
            room += history.tail(layer).nbytes
            history.keep(layer, history.tail(layer).to(_HOST))
            while there and coming.tail(there[-1]).nbytes <= room:
                room -= _bring(coming, there.pop(), device)
    for layer in there:
        _bring(coming, layer, device)


def _bring(history: Carry, layer: torch.nn.Module, device: torch.device) -> int:
    """Bytes that moved."""
    history.keep(layer, history.tail(layer).to(device))
    return history.tail(layer).nbytes
