"""Causal convolutions over whole frames, of which only a strip of rows at a time is in the workspace."""

import math
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seedvr2.models.vae.blocks import clip_of, frames_of
from seedvr2.models.vae.causal import Carry, CausalConv3d, Fresh, History
from seedvr2.models.vae.inference.fastest import fastest_way
from seedvr2.models.vae.inference.norm import Source
from seedvr2.models.vae.inference.tiling import Tiling
from seedvr2.models.vae.inference.ways import Kernel, usual_way
from seedvr2.tracing import alike

Put = Callable[[Tensor, slice, slice], None]  # (values, their frames, their rows before any up-sampling)


class Run:
    """One call of the network: its history, and how its layers are computed.

    Args:
        history: what stands before the chunk.
        tiling: the memory to use.
        ways: the fastest way of each kind of layer, measured if it is not there; None: the usual way of the device.
    """

    def __init__(self, history: History, tiling: Tiling, ways: MutableMapping[str, str] | None) -> None:
        self.history, self.tiling, self.ways = history, tiling, ways

    def kernel(self, weight: Tensor, bias: Tensor, **settings) -> Kernel:
        """Weights ready for all strips of a layer; settings are those of `Kernel`."""
        way = usual_way(weight) if self.ways is None else partial(fastest_way, self.ways)
        return Kernel(weight, bias, way=way, **settings)

    def rows(self, frames: Tensor, outputs: int) -> int:
        """Rows of a strip of frames (T, C, H, W) that a convolution takes to `outputs` channels."""
        count, channels, _, width = frames.shape
        per_column = channels * (1.5 * count + 3) + outputs * (1.5 * count + 0.5)
        return self.tiling.rows(int(per_column * width * frames.element_size()), frames.device)

    def past(self, layer: nn.Module, source: Source, frames: int) -> tuple[Tensor | None, Tensor | None]:
        """Frames (n, C, H, W) before those of `source`, None where a clip begins; and where to put its last ones, None
        if that is not for the caller to do. Both may be one tensor.
        """
        if isinstance(self.history, Fresh):
            return None, None
        if not isinstance(self.history, Carry):
            before = self.history.before(layer, clip_of(source.last(frames), 1), frames)
            return None if before is None else frames_of(before), None
        x, before = source.frames, self.history.tail(layer)
        device = torch.device("cpu") if self.tiling.host and not x.is_meta else x.device
        if before is None or before.device != device:
            tail = x.new_empty(frames, *x.shape[2:], x.shape[1], device=device).movedim(-1, 1)
            self.history.keep(layer, clip_of(tail, 1))
        else:
            tail = frames_of(before)
        return None if before is None else frames_of(before), tail


class Reach(NamedTuple):
    """Which rows and columns a convolution needs: `above` and `below` a row, zeros at the `right`, at a `stride`."""

    above: int = 1
    below: int = 1
    right: int = 0
    stride: int = 1


NEIGHBOURS = Reach()


def convolve(
    run: Run,
    layer: nn.Module,
    source: Source,
    kernel: Kernel,
    put: Put,
    *,
    reach: Reach = NEIGHBOURS,
    still: Kernel | None = None,
    second: Kernel | None = None,
) -> None:
    """Convolve a source strip by strip.

    Args:
        run: the call.
        layer: what the history knows the layer by.
        source: its input.
        kernel: its weights.
        put: takes the results.
        reach: rows and columns that a result needs.
        still: weights for the first frame of a clip, if not those of `kernel`.
        second: weights for the first frame after that, if not those of `kernel`; None too where that is not here.
    """
    x = source.frames
    count, channels, height, width = x.shape
    is_start = kernel.past > 0 and run.history.is_start(layer)
    before, tail = run.past(layer, source, kernel.past) if kernel.past else (None, None)
    skipped = 1 if is_start else 0  # the first frame is part of the past then
    rows = run.rows(x, len(kernel.weight))
    results = height // reach.stride
    held, columns = kernel.past + count - skipped, width + reach.right
    span = (min(rows, results) - 1) * reach.stride + 1 + reach.above + reach.below
    room = x.new_empty(held * span * columns * channels)  # all strips use it: fresh memory costs a CPU dearly
    for top in alike(range(0, results, rows), x.device):
        bottom = min(top + rows, results)
        begin, end = top * reach.stride - reach.above, (bottom - 1) * reach.stride + 1 + reach.below
        shape = held, end - begin, columns, channels
        window = room[: math.prod(shape)].view(shape).movedim(-1, 1)
        inside = slice(max(begin, 0), min(end, height))
        window[:, :, : inside.start - begin] = 0
        window[:, :, inside.stop - begin :] = 0
        window[..., width:] = 0
        area = window[:, :, inside.start - begin : inside.stop - begin, :width]
        if is_start:
            source.write(area[:1], 0, inside.start)
            area[1 : kernel.past] = area[:1]
        elif kernel.past:
            area[: kernel.past] = before[:, :, inside]
        source.write(area[kernel.past :], skipped, inside.start)
        if tail is not None:
            # no further than the next strip, which needs what stood before these frames
            until = inside.stop if bottom == results else bottom * reach.stride - reach.above
            tail[:, :, inside.start : until] = area[len(area) - kernel.past :, :, : until - inside.start]
        done, at = skipped, slice(top, bottom)
        if is_start:
            put((still or kernel).still(window[:1]), slice(0, 1), at)
        if second is not None and len(window) > 1:
            for _, values in second(window[:2]):
                put(values, slice(done, done + 1), at)
            window, done = window[1:], done + 1
        for frames, values in kernel(window):
            put(values, slice(done + frames.start, done + frames.stop, frames.step), at)


def causal(run: Run, conv: CausalConv3d, source: Source, into: Tensor | None = None) -> Tensor:
    """`conv` of `source`, (T, C, H, W); added to `into`, in place, if that is given."""
    x = source.frames
    kernel = run.kernel(conv.weight, conv.bias)
    made = x.new_empty(len(x), *x.shape[2:], conv.out_channels).movedim(-1, 1) if into is None else into

    def put(values: Tensor, frames: slice, rows: slice) -> None:
        if into is None:
            made[frames, :, rows] = values
        else:
            made[frames, :, rows] += values

    convolve(run, conv, source, kernel, put)
    return made
