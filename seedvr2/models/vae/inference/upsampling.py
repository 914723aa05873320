"""Up-sampling at the low resolution: 8 instead of 28 multiplications per output where time doubles too, else 12.

Pairs of frames need 6 and 8 of them.
"""

import itertools

import torch
from torch import Tensor, nn

from seedvr2.models.vae.blocks import Upsample
from seedvr2.models.vae.causal import Carry, CausalConv3d, Fresh
from seedvr2.models.vae.inference.folding import DOUBLED, KEPT, SECOND, STILL, Folded, fold
from seedvr2.models.vae.inference.norm import Source
from seedvr2.models.vae.inference.strips import Run, convolve
from seedvr2.models.vae.inference.ways import Kernel


class FoldedUpsample(nn.Module):
    """An `Upsample` with folded weights, which are no part of the state."""

    def __init__(self, upsample: Upsample) -> None:
        super().__init__()
        self.times = upsample.times
        patterns = {"middle": DOUBLED, "second": SECOND, "still": STILL} if self.times == 2 else {"middle": KEPT}
        for name, pattern in patterns.items():
            for part, value in fold(upsample, pattern)._asdict().items():
                self.register_buffer(f"{name}_{part}", value, persistent=False)

    def forward(self, conv: CausalConv3d, x: Tensor, run: Run) -> Tensor:
        """The up-sampling whose convolution is `conv`, of frames (T, C, H, W) to (T', C, 2 * H, 2 * W)."""
        count, channels, height, width = x.shape
        is_start = run.history.is_start(conv)
        follows_first = self.times == 2 and self._follows_first(is_start=is_start, x=x, run=run)
        dropped = (self.times - 1) * is_start
        made = x.new_empty(self.times * count - dropped, 2 * height, 2 * width, channels).movedim(-1, 1)

        def put(values: Tensor, frames: slice, rows: slice) -> None:
            phases = values.unflatten(1, (2, 2, -1, channels))
            subs = phases.shape[3]
            first, step = self.times * frames.start + self.times - subs - dropped, self.times * (frames.step or 1)
            for row, column, sub in itertools.product(range(2), range(2), range(subs)):
                part = phases[:, row, column, sub, :, row : row + rows.stop - rows.start, column : column + width]
                at = slice(first + sub, first + sub + step * len(values), step)
                made[at, :, 2 * rows.start + row : 2 * rows.stop : 2, column::2] = part

        folded = self._folded("middle")
        kernel = run.kernel(folded.weight, folded.bias)
        still = self._kernel("still") if self.times == 2 and is_start else None
        second = self._kernel("second") if follows_first or still else None
        convolve(run, conv, Source(x), kernel, put, still=still, second=second)
        self._correct_border(made, is_start=is_start, follows_first=follows_first)
        return made

    def _follows_first(self, *, is_start: bool, x: Tensor, run: Run) -> bool:
        """Whether the frame before `x` is the first of the clip; remembers whether the last one of `x` is."""
        if isinstance(run.history, Fresh):
            return False
        device = "cpu" if isinstance(run.history, Carry) else x.device
        mark = torch.full((1, 1, 1, 1, 1), float(is_start and len(x) == 1), device=device)
        before = run.history.before(self, mark, 1)
        return before is not None and bool(before.item())

    def _folded(self, name: str) -> Folded:
        return Folded(*(getattr(self, f"{name}_{part}") for part in Folded._fields))

    def _kernel(self, name: str) -> Kernel:
        folded = self._folded(name)
        return Kernel(folded.weight, folded.bias, way="frames")

    def _correct_border(self, made: Tensor, *, is_start: bool, follows_first: bool) -> None:
        height, width = made.shape[2:]
        for frames, border in self._borders(is_start=is_start, follows_first=follows_first):
            part = made[frames]
            for at, kind in ((0, 0), (-1, 3)):
                part[:, :, at] += _stretched(border[:, kind], width)
                part[:, :, 1:-1, at] += _stretched(border[:, :, kind], height)[:, 1:-1]

    def _borders(self, *, is_start: bool, follows_first: bool) -> list[tuple[slice, Tensor]]:
        """Frames of the result, and what to add at their borders."""
        if self.times == 1:
            return [(slice(None), self.middle_border[0])]
        names = ["still"] * is_start + ["second"] * (is_start or follows_first)
        borders = [border for name in names for border in self._folded(name).border]
        single = [(slice(at, at + 1), border) for at, border in enumerate(borders)]
        return single + [(slice(len(borders) + sub, None, 2), self.middle_border[sub]) for sub in range(2)]


def _stretched(kinds: Tensor, side: int) -> Tensor:
    """Values (C, side) along a border from those of the four kinds of positions, (C, 4)."""
    return torch.cat([kinds[:, :1], kinds[:, 1:3].repeat(1, side // 2 - 1), kinds[:, 3:]], dim=1)
