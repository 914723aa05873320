"""What a device computes per second, measured in a moment with the layers in which a model spends most of its work."""

import functools
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F

_CPU, _OTHER = 1e9, 2e11  # FLOPs of a measurement
_BLOCK = {"cpu": 1 << 25}  # bytes that a measurement copies
_RUNS = 3
_WARM = 2


class Rates(NamedTuple):
    """FLOP/s of convolutions and of matrix products, bytes/s that simple operations read and write, and bytes/s from
    host memory to the device.
    """

    convolution: float
    matmul: float
    moved: float
    upload: float

    def seconds(self, work: Mapping[str, float]) -> float:
        """Time of FLOPs and bytes by kind."""
        products = work["matmul"] + work["attention"]
        return work["convolution"] / self.convolution + products / self.matmul + work["moved"] / self.moved


def measure(device: torch.device, dtype: torch.dtype, layers: Counter) -> Rates:
    """Rates of a device. layers: FLOPs by operation and shape of the weight, as `seedvr2.tracing.Live` counts them."""
    main = {}
    for (name, shape), _ in reversed(layers.most_common()):
        main["convolution" if "conv" in name else "matmul"] = shape
    return _measure(device, dtype, main.get("convolution"), main["matmul"])


@functools.lru_cache
@torch.no_grad()
def _measure(
    device: torch.device, dtype: torch.dtype, kernel: tuple[int, ...] | None, matrix: tuple[int, int]
) -> Rates:
    flops = _CPU if device.type == "cpu" else _OTHER
    settings = {"device": device, "dtype": dtype}
    rows = max(16, int(flops / (2 * math.prod(matrix))))
    x, weight = torch.ones(rows, matrix[0], **settings), torch.ones(matrix[1], matrix[0], **settings)
    products = 2 * rows * math.prod(matrix) / _time(lambda: F.linear(x, weight), device)
    convolutions = products
    if kernel is not None:
        is_flat = len(kernel) == 4  # of single frames
        layout = torch.channels_last if is_flat else torch.channels_last_3d
        weight = torch.ones(kernel, **settings).to(memory_format=layout)
        side = min(512, max(16, int(math.sqrt(flops / (4 * weight.numel())))))
        depth = () if is_flat else (kernel[2] + 1,)  # of which two frames come
        clip = torch.ones(2 if is_flat else 1, kernel[1], *depth, side, side, **settings).to(memory_format=layout)
        padding = [0] * len(depth) + [n // 2 for n in kernel[-2:]]
        convolve = F.conv2d if is_flat else F.conv3d
        convolutions = 4 * side**2 * weight.numel() / _time(lambda: convolve(clip, weight, padding=padding), device)
    block = torch.ones(_BLOCK.get(device.type, 1 << 27), dtype=torch.uint8, device=device)
    moved = 2 * block.nbytes / _time(block.clone, device)
    upload = math.inf
    if device.type != "cpu":
        source = torch.empty(1 << 26, dtype=torch.uint8, pin_memory=device.type == "cuda")
        upload = source.nbytes / _time(lambda: source.to(device), device)
    return Rates(convolutions, products, moved, upload)


def _time(run: Callable[[], object], device: torch.device) -> float:
    # The fastest of a few: what else the machine does only makes it slower.
    found = []
    for number in range(_WARM + _RUNS):
        start = time.perf_counter()
        run()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        if number >= _WARM:
            found.append(time.perf_counter() - start)
    return min(found)
