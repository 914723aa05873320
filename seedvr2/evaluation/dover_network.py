"""The network of DOVER's technical score (Wu et al. 2023): a video Swin transformer that knows of fragments.

Swin-3D-tiny (Liu et al. 2022) with the gated relative position bias of FAST-VQA (Wu et al. 2022): two tokens of a
window may lie close in the spliced picture and far apart in the film, so each pair mixes two bias tables by how many
fragments lie between them. Parameters are named as in the released DOVER.pth.
"""

import itertools

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

Axes = tuple[int, int, int]  # time, height, width

WIDTH = 96
DEPTHS = (2, 2, 6, 2)
HEADS = (3, 6, 12, 24)
GATED = (True, True, True, False)
WINDOW = (8, 7, 7)
PATCH = (2, 4, 4)
_APART = -100.0  # added to the attention between places that are neighbours only because the picture was rolled


class Technical(nn.Module):
    """Fragments (B, 3, T, 224, 224), normalised, to raw scores (B,)."""

    def __init__(self):
        super().__init__()
        self.technical_backbone = Backbone()
        self.technical_head = Head(WIDTH * 2 ** (len(DEPTHS) - 1), 64)

    def forward(self, video: Tensor) -> Tensor:
        return self.technical_head(self.technical_backbone(video)).flatten(1).mean(1)


class Head(nn.Module):
    """Features (B, C, t, h, w) to a map of scores (B, 1, t, h, w)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc_hid = nn.Conv3d(width, hidden, 1)
        self.fc_last = nn.Conv3d(hidden, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc_last(F.gelu(self.fc_hid(features)))


class Backbone(nn.Module):
    """Video (B, 3, T, H, W) to features (B, 768, T/2, H/32, W/32)."""

    def __init__(self):
        super().__init__()
        self.patch_embed = PatchEmbedding()
        widths = [WIDTH * 2**number for number in range(len(DEPTHS))]
        stages = zip(widths, DEPTHS, HEADS, GATED, strict=True)
        self.layers = nn.ModuleList(
            Stage(width, depth, heads, is_gated=is_gated, is_last=width == widths[-1])
            for width, depth, heads, is_gated in stages
        )
        self.norm = nn.LayerNorm(widths[-1])

    def forward(self, video: Tensor) -> Tensor:
        tokens = self.patch_embed(video)
        for stage in self.layers:
            tokens = stage(tokens)
        return rearrange(self.norm(tokens), "b t h w c -> b c t h w")


class PatchEmbedding(nn.Module):
    """Video (B, 3, T, H, W), sides multiples of the patch, to tokens (B, T/2, H/4, W/4, 96)."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Conv3d(3, WIDTH, PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, video: Tensor) -> Tensor:
        return self.norm(rearrange(self.proj(video), "b c t h w -> b t h w c"))


class Stage(nn.Module):
    """Blocks at one resolution, every second one with shifted windows; all stages but the last halve the sides."""

    def __init__(self, width: int, depth: int, heads: int, *, is_gated: bool, is_last: bool):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, is_gated=is_gated) for _ in range(depth))
        self.downsample = None if is_last else Merging(width)

    def forward(self, tokens: Tensor) -> Tensor:
        size = tuple(tokens.shape[1:4])
        window = tuple(min(side, most) for side, most in zip(size, WINDOW, strict=True))
        half = tuple(0 if side <= most else most // 2 for side, most in zip(size, WINDOW, strict=True))
        for number, block in enumerate(self.blocks):
            tokens = block(tokens, window, half if number % 2 else (0, 0, 0))
        return tokens if self.downsample is None else self.downsample(tokens)


class Merging(nn.Module):
    """Each 2 x 2 tokens to one of twice the width: (B, t, h, w, C) -> (B, t, h/2, w/2, 2C)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        four = rearrange(tokens, "b t (h y) (w x) c -> b t h w (x y c)", y=2, x=2)
        return self.reduction(self.norm(four))


class Block(nn.Module):
    """Attention within windows and a two-layer perceptron, both residual, on tokens (B, t, h, w, C)."""

    def __init__(self, width: int, heads: int, *, is_gated: bool):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, is_gated=is_gated)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Perceptron(width)

    def forward(self, tokens: Tensor, window: Axes, shift: Axes) -> Tensor:
        size = tuple(tokens.shape[1:4])
        padding = [-side % step for side, step in zip(size, window, strict=True)]
        padded = tuple(side + more for side, more in zip(size, padding, strict=True))
        x = F.pad(self.norm1(tokens), (0, 0, 0, padding[2], 0, padding[1], 0, padding[0]))
        x = torch.roll(x, [-by for by in shift], dims=(1, 2, 3))
        gaps = fragment_gaps(padded, window, shift).to(x.device)
        apart = separated(padded, window, shift).to(x.device) if any(shift) else None
        x = merge(self.attn(partition(x, window), window, gaps, apart), window, padded)
        x = torch.roll(x, shift, dims=(1, 2, 3))[:, : size[0], : size[1], : size[2]]
        tokens = tokens + x
        return tokens + self.mlp(self.norm2(tokens))


class Perceptron(nn.Module):
    """Two layers with GELU between, four times as wide inside."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class WindowAttention(nn.Module):
    """Multi-head attention within windows with a bias by relative position, gated by the gap between fragments."""

    def __init__(self, width: int, heads: int, *, is_gated: bool):
        super().__init__()
        self.heads = heads
        places = (2 * WINDOW[0] - 1) * (2 * WINDOW[1] - 1) * (2 * WINDOW[2] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(places, heads))
        if is_gated:
            self.fragment_position_bias_table = nn.Parameter(torch.zeros(places, heads))
        self.register_buffer("relative_position_index", relative_places(WINDOW))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.is_gated = is_gated

    def forward(self, x: Tensor, window: Axes, gaps: Tensor, apart: Tensor | None) -> Tensor:
        """x: (B, N, n, C), N windows of n tokens; gaps, apart: (N, n, n); returns x's shape."""
        q, k, v = rearrange(self.qkv(x), "b m n (three h d) -> three b m h n d", three=3, h=self.heads)
        bias = self._bias(window, gaps)
        bias = bias if apart is None else bias + apart[:, None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.proj(rearrange(out, "b m h n d -> b m n (h d)"))

    def _bias(self, window: Axes, gaps: Tensor) -> Tensor:
        """(N, heads, n, n), or (1, heads, n, n) where there is no gate."""
        count = window[0] * window[1] * window[2]
        index = self.relative_position_index[:count, :count]  # the released network cuts small windows in this way too
        near = self.relative_position_bias_table[index].permute(2, 0, 1)[None]
        if not self.is_gated:
            return near
        far = self.fragment_position_bias_table[index].permute(2, 0, 1)[None]
        gate = gaps[:, None]
        return near * gate + far * (1 - gate)


def partition(x: Tensor, window: Axes) -> Tensor:
    """(B, t, h, w, C) -> (B, N, n, C), N windows of n tokens each."""
    t, h, w = window
    return rearrange(x, "b (nt t) (nh h) (nw w) c -> b (nt nh nw) (t h w) c", t=t, h=h, w=w)


def merge(windows: Tensor, window: Axes, size: Axes) -> Tensor:
    """(B, N, n, C) -> (B, t, h, w, C) of the given size: undoes `partition`."""
    counts = dict(zip(("nt", "nh", "nw"), (side // step for side, step in zip(size, window, strict=True)), strict=True))
    sides = dict(zip("thw", window, strict=True))
    return rearrange(windows, "b (nt nh nw) (t h w) c -> b (nt t) (nh h) (nw w) c", **counts, **sides)


def relative_places(window: Axes) -> Tensor:
    """For each pair of tokens of a window the row of the bias table, int64 (n, n)."""
    places = torch.tensor(list(itertools.product(*map(range, window))))
    offsets = places[:, None] - places[None] + torch.tensor(window) - 1
    strides = torch.tensor([(2 * window[1] - 1) * (2 * window[2] - 1), 2 * window[2] - 1, 1])
    return (offsets * strides).sum(-1)


def fragment_gaps(size: Axes, window: Axes, shift: Axes) -> Tensor:
    """Rows plus columns of fragments between each pair of tokens of a window, float (N, n, n).

    The released network counts as many fragments a side as the window has tokens.
    """
    t, h, w = size
    rows = torch.arange(h) * window[1] // h
    columns = torch.arange(w) * window[2] // w
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).expand(1, t, h, w, 2)
    parts = partition(torch.roll(grid, [-by for by in shift], dims=(1, 2, 3)), window)[0]
    return (parts[:, None] - parts[:, :, None]).abs().sum(-1).float()


def separated(size: Axes, window: Axes, shift: Axes) -> Tensor:
    """What to add to attention after rolling, float (N, n, n): 0, or `_APART` where a seam lies between the two."""
    labels = [_sections(*axis) for axis in zip(size, window, shift, strict=True)]
    grid = torch.stack(torch.meshgrid(*labels, indexing="ij"), dim=-1)[None]
    parts = partition(grid, window)[0]
    return (parts[:, None] != parts[:, :, None]).any(-1) * _APART


def _sections(side: int, window: int, shift: int) -> Tensor:
    """Which places of a rolled axis were together before, int64 (side,)."""
    if shift == 0:
        return torch.zeros(side, dtype=torch.int64)
    place = torch.arange(side)
    return (place >= side - window).long() + (place >= side - shift).long()
