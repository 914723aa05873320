"""How fast a stage trains, and in how much memory."""

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from seedvr2.data.batch import Size

Count = Callable[[object], Sequence[Size]]  # a micro-batch -> token grid (t, h, w) of each clip, () without tokens
REPEATS = 20  # of the matrix products that measure a device, after as many to warm up


class Speed:
    """Counts steps, clips and seconds between two readings.

    count: token grids of a micro-batch's clips. flops: of one step on one clip by its token grid, None if unknown.
    peak: dense TFLOP/s of one device, None if unknown. data, world: ranks that eat different clips, and all ranks.
    largest: the largest of all ranks' whole numbers; every rank calls `read`.
    """

    def __init__(
        self,
        device: torch.device,
        count: Count,
        *,
        flops: Callable[[Size], float] | None = None,
        peak: float | None = None,
        data: int = 1,
        world: int = 1,
        largest: Callable[[int], int] = int,
    ):
        self.device, self.count, self.flops, self.peak = device, count, flops, peak
        self.data, self.world, self.largest = data, world, largest
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._restart()

    def _restart(self) -> None:
        self.steps = self.clips = self.tokens = 0
        self.work = self.waited = self.away = 0.0
        self.since = time.perf_counter()

    def waits(self, steps: Iterable[Sequence]) -> Iterator[Sequence]:
        """The micro-batches of each step, counted; the time until they come is waiting."""
        steps = iter(steps)
        while True:
            asked = time.perf_counter()
            batches = next(steps, None)
            self.waited += time.perf_counter() - asked
            if batches is None:
                return
            self.steps += 1
            for batch in batches:
                for grid in self.count(batch):
                    self._add(grid)
            yield batches

    def _add(self, grid: Size) -> None:
        self.clips += 1
        if grid:
            self.tokens += grid[0] * grid[1] * grid[2]
            if self.flops and self.peak:
                self.work += self.flops(grid)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside this block is no part of training."""
        _wait(self.device)
        left = time.perf_counter()
        try:
            yield
        finally:
            _wait(self.device)
            self.away += time.perf_counter() - left

    def read(self) -> dict[str, float]:
        """Numbers of all ranks together since the last reading; {} if there was no step.

        speed/seconds_per_step, speed/clips_per_second, speed/tokens_per_second (video tokens of the generator),
        speed/waiting_share (of the time: for batches, which includes degrading and encoding them where the training
        process does so), speed/mfu (FLOPs that the step needs, nothing counted twice that is computed again, over what
        the devices could do), memory/peak_gib (CUDA: most memory allocated in this stage; CPU: most memory that the
        process ever held; of the fullest rank).
        """
        if not self.steps:
            return {}
        _wait(self.device)
        seconds = max(1e-9, time.perf_counter() - self.since - self.away)
        found = {
            "speed/seconds_per_step": seconds / self.steps,
            "speed/clips_per_second": self.clips * self.data / seconds,
            "speed/waiting_share": min(1.0, self.waited / seconds),
        }
        if self.tokens:
            found["speed/tokens_per_second"] = self.tokens * self.data / seconds
        if self.work:
            found["speed/mfu"] = self.work * self.data / seconds / (self.world * self.peak * 1e12)
        if (memory := peak_memory(self.device)) is not None:
            found["memory/peak_gib"] = self.largest(memory) / 2**30
        self._restart()
        return found


def peak_memory(device: torch.device) -> int | None:
    """Bytes: on CUDA the most allocated by tensors since the last reset, else the most the process ever held."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # macOS counts bytes, Linux KiB


@functools.cache
def measured_peak(device: torch.device) -> float | None:
    """Dense bf16 TFLOP/s that large matrix products reach on a CUDA device; None elsewhere."""
    return product_rate(device, 8192, torch.bfloat16) if device.type == "cuda" else None


def product_rate(device: torch.device, side: int, dtype: torch.dtype) -> float:
    """TFLOP/s of products of square matrices on a device, warmed up."""
    a = torch.randn(side, side, device=device, dtype=dtype)
    for i in range(2 * REPEATS):
        if i == REPEATS:
            _wait(device)
            start = time.perf_counter()
        torch.mm(a, a)
    _wait(device)
    return 2 * side**3 * REPEATS / (time.perf_counter() - start) / 1e12


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
