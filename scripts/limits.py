"""What a device can do at most: measured by large matrix products and copies, known, or given."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from seedvr2.restore.device import DTYPES, native_dtype, pick_device


class Device(NamedTuple):
    """What a device can do: dense TFLOP/s, GB/s of its memory, and GB/s between host and device."""

    name: str
    tflops: float
    gbs: float
    link: float


KNOWN = {"h200": Device("H200", 790.0, 4800.0, 55.0)}  # bf16 as measured by large products; data sheet; PCIe 5.0 x16


def measured(device: torch.device, dtype: torch.dtype) -> Device:
    """What a device reaches in large matrix products and copies."""
    is_cpu = device.type == "cpu"
    named = getattr(torch.get_device_module(device), "get_device_name", None)
    name = named(device) if named else device.type.upper()
    side = 2048 if is_cpu else 8192
    a = torch.randn(side, side, device=device, dtype=dtype)
    tflops = 2 * side**3 / _seconds(lambda: a @ a, device) / 1e12
    source = torch.ones(2**28 if is_cpu else 2**30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    gbs = 2 * source.nbytes / _seconds(lambda: target.copy_(source), device) / 1e9  # every byte is read and written
    if is_cpu:
        return Device(name, tflops, gbs, gbs)
    host = torch.empty(2**28, dtype=torch.uint8, pin_memory=True)
    there = target[: len(host)]
    return Device(name, tflops, gbs, host.nbytes / _seconds(lambda: there.copy_(host, non_blocking=True), device) / 1e9)


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    times = []
    for _ in range(13):
        start = clock(device)
        call()
        times.append(clock(device) - start)
    return statistics.median(times[3:])


def clock(device: torch.device) -> float:
    """Seconds, when a device has done what it was given; of a CPU those of its processors, over its threads."""
    if device.type == "cpu":
        return time.process_time() / torch.get_num_threads()
    torch.accelerator.synchronize(device)
    return time.perf_counter()


def chosen_device(name: str, dtype: str | None, tflops: float | None, gbs: float | None) -> tuple[Device, str]:
    """The device that a floor is for, and a key of `DTYPES`; given numbers take the place of measured ones."""
    if name in KNOWN:
        found, dtype = KNOWN[name], dtype or "bf16"
    else:
        place = pick_device(None if name == "auto" else name)
        dtype = dtype or native_dtype(place)[0]
        given = tflops is not None and gbs is not None
        found = Device(str(place), tflops, gbs, gbs) if given else measured(place, DTYPES[dtype])
    return found._replace(tflops=tflops or found.tflops, gbs=gbs or found.gbs), dtype
