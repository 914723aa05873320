"""Adaptive window partition (§3.2, Eq. 1–2): which tokens attend to each other, as pure functions of sizes.

A window rule maps a token grid `(t, h, w)` to a window extent `(t, h, w)`. To add a rule, write such a function here
and name it in `trunk.window` of a model config. `plan_windows` turns a rule into the index tensors that attention
needs.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seedvr2.models.varlen import start_offsets

Size = tuple[int, int, int]
WindowRule = Callable[[Size], Size]

TRAINING_AREA = 45 * 80  # tokens of a 720p frame, d_h x d_w in the paper


def adaptive_window(size: Size, *, windows: Size = (4, 3, 3), area: int = TRAINING_AREA, max_frames: int = 30) -> Size:
    """Window extent of the released models: Eq. 1 on the proxy grid of Eq. 2 rounded to whole tokens.

    size: (t, h, w) tokens. windows: how many windows per axis. area: tokens of a training frame (the proxy's area).
    """
    t, h, w = size
    scale = math.sqrt(area / (h * w))
    grid = min(t, max_frames), round(h * scale), round(w * scale)
    return tuple(max(1, math.ceil(n / k)) for n, k in zip(grid, windows, strict=True))


def literal_window(size: Size, *, windows: Size = (4, 3, 3), area: int = TRAINING_AREA, max_frames: int = 30) -> Size:
    """Window extent as Eq. 1–2 are printed: the proxy grid is not rounded, so about 30 % of sizes differ."""
    t, h, w = size
    grid = min(t, max_frames), math.sqrt(area * h / w), math.sqrt(area * w / h)
    return tuple(math.ceil(n / k) for n, k in zip(grid, windows, strict=True))


def fixed_window(size: Size, *, extent: tuple[int, int] = (32, 32), frames: int = 4, max_frames: int = 30) -> Size:
    """Predefined spatial window of the ablation (Fig. 4): 64 x 64 latent pixels whatever the resolution."""
    return math.ceil(min(size[0], max_frames) / frames), *extent


def cuts(length: int, window: int, shifted: bool) -> list[int]:
    """Cut points `[0, ..., length]` along one axis; a shifted axis starts with half a window."""
    first = window // 2 if shifted and window < length else 0
    return sorted({0, *range(first, length, window), length})


def partition(size: Size, window: Size, shifted: bool) -> list[tuple[slice, slice, slice]]:
    """All windows of a grid as (t, h, w) slices; width outermost, then height, time innermost (the released order)."""
    t, h, w = (
        [slice(a, b) for a, b in itertools.pairwise(cuts(n, p, shifted))] for n, p in zip(size, window, strict=True)
    )
    return [(i, j, k) for k in w for j in h for i in t]


class WindowPlan(NamedTuple):
    """Where every token goes in attention; computed once per forward from shapes only, the same on all ranks.

    The packed sequence is window after window, shortest first; a window is its video tokens, then all text of its clip.
    """

    video_tokens: int  # L
    text_tokens: int  # M
    order: Tensor  # (P,) packed row -> row of [video; text]
    runs: list[tuple[int, int]]  # (number of windows, their length) of consecutive equally long windows
    starts: Tensor  # (N + 1,) packed row at which each window begins, and P
    video_rows: Tensor  # (L,) video token -> packed row
    text_rows: list[Tensor]  # per clip (windows, text length) -> packed row
    position: Tensor  # (L, 3) coordinate inside the window
    extent: Tensor  # (L, 3) extent of the window
    text_position: Tensor  # (M,) coordinate inside the clip's text
    text_before: Tensor  # (L,) text length of the token's clip
    clip_of_video: Tensor  # (L,)
    clip_of_text: Tensor  # (M,)
    clip_lengths: list[int]  # video tokens of each clip


def plan_windows(sizes: Sequence[Size], text_lengths: Sequence[int], rule: WindowRule, shifted: bool) -> WindowPlan:
    """Plan window attention for clips of token grids `sizes` and `text_lengths`, packed one after the other."""
    position, extent, window_of_token, row_in_window, video_length, window_text, clip_windows = (
        [],
        [],
        [],
        [],
        [],
        [],
        [],
    )
    first_window = 0
    for size, text_length in zip(sizes, text_lengths, strict=True):
        axes = [_axis(n, p, shifted) for n, p in zip(size, rule(size), strict=True)]
        (wt, lt, nt, ct), (wh, lh, nh, ch), (ww, lw, nw, cw) = axes
        place = torch.stack(_grid(lt, lh, lw), dim=-1)
        extents = torch.stack(_grid(nt[wt], nh[wh], nw[ww]), dim=-1)
        at, ah, aw = _grid(wt, wh, ww)
        window_of_token.append(first_window + (aw * ch + ah) * ct + at)
        row_in_window.append((place[:, 0] * extents[:, 1] + place[:, 1]) * extents[:, 2] + place[:, 2])
        position.append(place)
        extent.append(extents)
        video_length.append((nw[:, None, None] * nh[None, :, None] * nt[None, None, :]).flatten())
        window_text.append(torch.full((ct * ch * cw,), text_length))
        clip_windows.append(range(first_window, first_window + ct * ch * cw))
        first_window += ct * ch * cw
    return _pack(
        sizes,
        text_lengths,
        *map(torch.cat, (position, extent, window_of_token, row_in_window)),
        *map(torch.cat, (video_length, window_text)),
        clip_windows,
    )


def _axis(length: int, window: int, shifted: bool) -> tuple[Tensor, Tensor, Tensor, int]:
    """Window number and coordinate inside it of each position on an axis, window lengths, number of windows."""
    edges = torch.tensor(cuts(length, window, shifted))
    places = torch.arange(length)
    number = torch.searchsorted(edges, places, right=True) - 1
    return number, places - edges[number], edges.diff(), len(edges) - 1


def _grid(t: Tensor, h: Tensor, w: Tensor) -> list[Tensor]:
    return [axis.flatten() for axis in torch.meshgrid(t, h, w, indexing="ij")]


def _pack(
    sizes, text_lengths, position, extent, window_of_token, row_in_window, video_length, window_text, clip_windows
):
    length = video_length + window_text
    by_length = torch.argsort(length, stable=True)
    start = torch.empty_like(length)
    start[by_length] = length[by_length].cumsum(0) - length[by_length]
    video_rows = start[window_of_token] + row_in_window
    text_rows = [
        (start[list(windows)] + video_length[list(windows)])[:, None] + torch.arange(n)
        for windows, n in zip(clip_windows, text_lengths, strict=True)
    ]
    clip_lengths = [math.prod(size) for size in sizes]
    order = torch.empty(int(length.sum()), dtype=torch.long)
    order[video_rows] = torch.arange(len(video_rows))
    text_start = len(video_rows)
    for rows, n in zip(text_rows, text_lengths, strict=True):
        order[rows] = torch.arange(text_start, text_start + n).expand_as(rows)
        text_start += n
    counts = torch.tensor(clip_lengths)
    texts = torch.tensor(list(text_lengths))
    clips = torch.arange(len(sizes))
    runs = [(len(list(group)), n) for n, group in itertools.groupby(length[by_length].tolist())]
    return WindowPlan(
        video_tokens=len(video_rows),
        text_tokens=int(texts.sum()),
        order=order,
        runs=runs,
        starts=start_offsets(runs),
        video_rows=video_rows,
        text_rows=text_rows,
        position=position,
        extent=extent,
        text_position=torch.cat([torch.arange(n) for n in text_lengths]),
        text_before=texts.repeat_interleave(counts),
        clip_of_video=clips.repeat_interleave(counts),
        clip_of_text=clips.repeat_interleave(texts),
        clip_lengths=clip_lengths,
    )


def move_plan(plan: WindowPlan, device: torch.device) -> WindowPlan:
    """The same plan with its tensors on another device."""
    moved = {name: value.to(device) for name, value in plan._asdict().items() if isinstance(value, Tensor)}
    return plan._replace(**moved, text_rows=[rows.to(device) for rows in plan.text_rows])
