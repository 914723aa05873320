"""The fastest way to convolve on a device, by a short test there of each kind of layer."""

import math
import time
from collections.abc import MutableMapping

import torch
from torch import Tensor

from seedvr2.models.vae.inference.ways import WAYS, Kernel, usual_way

_CLEARLY = 0.95  # of the usual way's time, or less, is what another way must take
_TESTS = 3


def fastest_way(ways: MutableMapping[str, str], kernel: Kernel, window: Tensor) -> str:
    """The way that takes the least time for a window of frames (T, C, H, W), with the making of its weights.

    It is the usual one unless another is clearly faster, so that tests seldom differ. A way that fails, for lack of
    memory for instance, is out of the question for as long as `ways` lasts, and nothing is noted for longer.

    Args:
        ways: what was found before for layers of this kind, which is taken as it is; what is found now is added, by
            `setdefault` if it may be noted for longer.
        kernel: the convolution.
        window: what it is to convolve first.
    """
    usual, able = kernel.able(usual_way(kernel.weight)), list(dict.fromkeys(map(kernel.able, WAYS)))
    if len(able) == 1:
        return usual
    kind = _kind(kernel, window)
    if kind not in ways:
        seconds = _tested(kernel, able, window)
        best = min(seconds, key=seconds.get)
        way = best if seconds[best] < _CLEARLY * seconds[usual] else usual
        if math.inf in seconds.values():
            ways[kind] = way
        else:
            ways.setdefault(kind, way)
    return ways[kind] if ways[kind] in able else usual


def _kind(kernel: Kernel, window: Tensor) -> str:
    # Layers that differ in these have a fastest way each; of the size of a window only the magnitude matters.
    weight, count = kernel.weight, len(window)
    dtype = str(weight.dtype).removeprefix("torch.")
    is_rounded = dtype == "float32" and weight.is_cuda and torch.backends.cudnn.allow_tf32
    facts = ["tf32" if is_rounded else dtype, "x".join(map(str, weight.shape)), "stride {} {}".format(*kernel.stride)]
    pixels = 1 << (count * window.shape[2] * window.shape[3]).bit_length()
    return ", ".join([*facts, f"pad {kernel.pad}", f"{min(count, 6)} frames", f"{pixels} pixels"])


def _tested(kernel: Kernel, ways: list[str], window: Tensor) -> dict[str, float]:
    """Seconds by way, infinite for one that fails."""
    found = {way: [] for way in ways}
    for _ in range(1 + _TESTS):  # in turn; the first time prepares
        for way in [way for way in ways if math.inf not in found[way]]:
            try:
                found[way].append(_seconds(kernel.by(way), window))
            except RuntimeError:
                found[way] = [math.inf] * 2
    return {way: min(spent[1:]) for way, spent in found.items()}


def _seconds(kernel: Kernel, window: Tensor) -> float:
    start = time.perf_counter()
    for _ in kernel(window):
        pass
    if window.device.type != "cpu":
        torch.accelerator.synchronize(window.device)
    return time.perf_counter() - start
