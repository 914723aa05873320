"""The fastest way to convolve on a device, by a short test there of each kind of layer."""

import math
import time
from collections.abc import Callable, MutableMapping

import torch
from torch import Tensor

from seedvr2.models.vae.inference.ways import WAYS, Kernel, usual_way

_CLEARLY = 0.95  # of the usual way's time, or less, is what another way must take
_TESTS = 3


def fastest_way(
    ways: MutableMapping[str, str], weight: Tensor, bias: Tensor, shape: torch.Size, **settings: int | tuple
) -> str:
    """The way that takes the least time for a window of frames (T, C, H, W) on the device of `weight`.

    It is the usual one unless another is clearly faster, so that a second test finds the same. A way that fails, for
    lack of memory for instance, is out of the question.

    Args:
        ways: what was found before for layers of this kind, which is taken as it is; what is found now is added.
        weight: of the convolution; `bias` and `settings` as for `Kernel`.
    """
    key = _kind(weight, shape, settings)
    if ways.get(key) not in WAYS:
        count, channels, height, width = shape
        window = weight.new_zeros(count, height, width, channels).movedim(-1, 1)
        kernels = {kernel.way: kernel for kernel in (Kernel(weight, bias, way=way, **settings) for way in WAYS)}
        seconds = {way: _seconds(kernel, window) for way, kernel in kernels.items()} if len(kernels) > 1 else {}
        usual = Kernel(weight, bias, way=usual_way(weight), **settings).way
        best = min(seconds, key=seconds.get, default=usual)
        ways[key] = best if seconds and seconds[best] < _CLEARLY * seconds[usual] else usual
    return ways[key]


def _kind(weight: Tensor, shape: torch.Size, settings: dict[str, int]) -> str:
    # Layers that differ in these have a fastest way each; of the size of a window only the magnitude matters.
    pixels = 1 << (shape[0] * shape[2] * shape[3]).bit_length()
    facts = [str(weight.dtype).removeprefix("torch."), "x".join(map(str, weight.shape))]
    facts += [f"{name} {value}" for name, value in settings.items()]
    return ", ".join([*facts, f"{min(shape[0], 6)} frames", f"{pixels} pixels"])


def _seconds(kernel: Kernel, window: Tensor) -> float:
    def run() -> None:
        for _ in kernel(window):
            pass

    try:
        return shortest(run, window.device)
    except RuntimeError:
        return math.inf


def shortest(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of a few runs, after one that prepares."""
    spent = []
    for _ in range(1 + _TESTS):
        start = time.perf_counter()
        run()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        spent.append(time.perf_counter() - start)
    return min(spent[1:])
