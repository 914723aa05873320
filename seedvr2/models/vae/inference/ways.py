"""Ways to convolve a window of frames in time and space; all give the same result but for rounding.

`pairs` is Winograd's minimal filtering in time: with three taps, F(2, 3), four convolutions of single frames make two
frames that otherwise need six; with two taps, F(2, 2), three instead of four. Each way yields its results as (frames of
the result, values), to be put where they belong.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from seedvr2.models.vae.blocks import clip_of, frames_of
from seedvr2.tracing import kind_of

WAYS = ("volume", "frames", "pairs")

Made = Iterator[tuple[slice, Tensor]]


class Kernel:
    """Weights of a causal convolution, made ready for all strips of a call.

    Args:
        weight: (O, C, taps, rows, columns).
        bias: (O,).
        stride: steps in time and in space.
        pad: zero columns on the left and right of a window.
        way: one of `WAYS` (where `pairs` cannot be used, `frames` is), or what chooses one for this and the first
            window that it convolves.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        *,
        stride: tuple[int, int] = (1, 1),
        pad: int = 1,
        way: "str | Callable[[Kernel, Tensor], str]" = "volume",
    ) -> None:
        self.weight, self.bias, self.stride, self.pad = weight, bias, stride, pad
        self.taps = weight.shape[2]
        self.past = max(0, self.taps - stride[0])  # frames before the first that a window must hold
        self.way = self.able(way) if isinstance(way, str) else way
        self._parts: dict[str, list[Tensor]] = {}

    def by(self, way: str) -> "Kernel":
        """The same in another way."""
        return Kernel(self.weight, self.bias, stride=self.stride, pad=self.pad, way=way)

    def able(self, way: str) -> str:
        """A way, or the one that takes its place here."""
        # what pairs add up could be too much for float16
        is_pairable = self.taps in (2, 3) and self.stride[0] == 1 and self.weight.dtype != torch.float16
        return "frames" if self.taps == 1 or (way == "pairs" and not is_pairable) else way

    def still(self, frame: Tensor) -> Tensor:
        """What comes of (1, C, H, W) repeated over all taps."""
        return self._flat(frame, "still", 0, self.bias)

    def __call__(self, window: Tensor) -> Made:
        """Convolve frames (past + T, C, H, W)."""
        count = (len(window) - self.taps) // self.stride[0] + 1
        if count == 0:
            return
        if callable(self.way):
            self.way = self.way(self, window)
        paired = count // 2 * 2 if self.way == "pairs" else 0
        if paired:
            yield from (self._pairs if self.taps == 3 else self._pairs_of_two)(window, paired)
        if count > paired:
            rest = window[paired:]
            yield slice(paired, count), self._volume(rest) if self.way == "volume" else self._frames(rest)

    def _volume(self, window: Tensor) -> Tensor:
        stride = (self.stride[0], self.stride[1], self.stride[1])
        weight = self._part("volume")[0]
        return frames_of(F.conv3d(clip_of(window, 1), weight, self.bias, stride, (0, 0, self.pad)))

    def _frames(self, window: Tensor) -> Tensor:
        step, span = self.stride[0], len(window) - self.taps + 1
        made = self._flat(window[:span:step], "frames", 0, self.bias)
        for tap in range(1, self.taps):
            made += self._flat(window[tap : tap + span : step], "frames", tap)
        return made

    def _pairs(self, window: Tensor, count: int) -> Made:
        a, b, c, d = (window[i : i + count - 1 : 2] for i in range(4))
        both = self._flat(b + c, "pairs", 1)
        apart = self._flat(c - b, "pairs", 2)
        made = self._flat(a - c, "pairs", 0, self.bias)
        made += both
        made += apart
        yield slice(0, count, 2), made
        made = self._flat(d - b, "pairs", 3, self.bias)
        made += both
        made -= apart
        yield slice(1, count, 2), made

    def _pairs_of_two(self, window: Tensor, count: int) -> Made:
        a, b, c = (window[i : i + count - 1 : 2] for i in range(3))
        both = self._flat(b, "two", 1, self.bias)
        yield slice(0, count, 2), self._flat(a - b, "two", 0).add_(both)
        yield slice(1, count, 2), self._flat(c - b, "two", 2).add_(both)

    def _flat(self, frames: Tensor, part: str, index: int, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(frames, self._part(part)[index], bias, self.stride[1], (0, self.pad))

    def _part(self, name: str) -> list[Tensor]:
        """Weights as one way needs them."""
        if name not in self._parts:
            self._parts[name] = self._made(name)
        return self._parts[name]

    def _made(self, name: str) -> list[Tensor]:
        weight = self.weight.to(torch.promote_types(self.weight.dtype, torch.float32))
        if name == "volume":
            return [self.weight.contiguous(memory_format=torch.channels_last_3d)]
        if name == "frames":
            parts = weight.unbind(2)
        elif name == "still":
            parts = [weight.sum(dim=2)]
        elif name == "two":
            first, last = weight.unbind(2)
            parts = [first, first + last, last]
        else:
            first, middle, last = weight.unbind(2)
            ends = (first + last) / 2
            parts = [first, ends + middle / 2, ends - middle / 2, last]
        return [part.to(self.weight.dtype).contiguous(memory_format=torch.channels_last) for part in parts]


def usual_way(weight: Tensor) -> str:
    """The way for the device on which `weight` lies where none is measured: on a CPU the fastest of those that were."""
    return "pairs" if kind_of(weight.device) == "cpu" else "volume"
