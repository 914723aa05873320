"""What passes of a network cost one rank: FLOPs, and bytes of activations block by block, traced on the meta device."""

import contextlib
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seedvr2.models.block import MMBlock
from seedvr2.models.dit import Trunk
from seedvr2.models.patch import PATCH
from seedvr2.models.rope import Rotation
from seedvr2.models.windows import Size, WindowPlan, cuts
from seedvr2.training.plan.trace import Traced, trace

ATTENTION_BACKWARD = 2.5  # matrix products of flash attention's backward pass over those of its forward pass
SCORE_BYTES = 4  # the logarithm of the softmax sum, per row and head


@dataclass(frozen=True)
class Load:
    """What one call of a network sees. grids: token grids of the packed clips. text: tokens per clip. sequence: ranks
    that share it. dtype: of activations. gpu: whether kernels are those of a GPU.
    """

    grids: tuple[Size, ...]
    text: int
    sequence: int = 1
    dtype: torch.dtype = torch.bfloat16
    gpu: bool = True

    @property
    def tokens(self) -> int:
        """Video tokens of all clips."""
        return sum(math.prod(grid) for grid in self.grids)

    def mine(self, rows: int) -> int:
        """One rank's part of a number of rows."""
        return math.ceil(rows / self.sequence)


class Kept(NamedTuple):
    """Bytes of one block on one rank: what enters it, what attention and its exchanges put out, everything kept for the
    backward pass, and the most that the backward pass needs beside it.
    """

    inputs: int
    attention: int
    everything: int
    peak: int


class Costs(NamedTuple):
    """A call on one rank: FLOPs of the forward pass, of its attention, of the backward pass (without running anything
    again); bytes of each block and of the layers around the blocks; bytes of tapped features, whole on every rank.
    """

    forward: float
    attention: float
    backward: float
    blocks: Sequence[Kept]
    around: Kept
    features: int

    def activations(self, recompute: str) -> int:
        """Bytes that live until the backward pass."""
        each = {
            "none": [block.everything for block in self.blocks],
            "full": [block.inputs for block in self.blocks],
            "selective": [block.inputs + block.attention for block in self.blocks],
        }[recompute]
        return sum(each) + self.around.everything

    def working(self, recompute: str) -> int:
        """Bytes that the backward pass of the widest block (or of the layers around) needs besides."""
        again = [block.peak + (0 if recompute == "none" else block.everything) for block in self.blocks]
        return max([*again, self.around.peak])

    def repeated(self, recompute: str) -> float:
        """FLOPs of forward passes that the backward pass runs again."""
        return {"none": 0.0, "full": self.forward, "selective": self.forward - self.attention}[recompute]


def window_lengths(trunk: Trunk, grid: Size, shifted: bool) -> list[list[int]]:
    """Extents of the windows along each axis of a token grid."""
    edges = [cuts(n, w, shifted) for n, w in zip(grid, trunk.window(grid), strict=True)]
    return [[b - a for a, b in itertools.pairwise(axis)] for axis in edges]


def attention_cost(trunk: Trunk, load: Load, shifted: bool) -> tuple[float, int]:
    """FLOPs of one layer's attention over all clips, and rows of its packed sequence (text repeated per window)."""
    pairs = rows = 0
    for grid in load.grids:
        axes = window_lengths(trunk, grid, shifted)
        windows = math.prod(len(axis) for axis in axes)
        squares = math.prod(sum(n * n for n in axis) for axis in axes)
        pairs += squares + 2 * load.text * math.prod(grid) + windows * load.text**2
        rows += math.prod(grid) + windows * load.text
    return 4.0 * pairs * head_width(trunk), rows


def head_width(trunk: Trunk) -> int:
    """Channels of all heads together."""
    return trunk.blocks[0].attn.proj_out.video.in_features


@functools.lru_cache(maxsize=256)
def trunk_costs(network: nn.Module, load: Load, grad: str) -> Costs:
    """Costs of a generator or discriminator on the meta device, one call. grad: none, inputs or weights."""
    trunk: Trunk = network.trunk
    kinds: dict[tuple, tuple[Traced, int]] = {}
    blocks, forward, backward, attention = [], 0.0, 0.0, 0.0
    layers = [attention_cost(trunk, load, shifted) for shifted in (False, True)]
    for i, block in enumerate(trunk.blocks):
        flops, rows = layers[i % 2]
        shapes = tuple((p.shape, p.requires_grad) for p in block.parameters())
        key = (shapes, block.last, block.text_modulated, rows)
        if key not in kinds:
            with _kind(block, load.dtype, learns=grad == "weights"):
                kinds[key] = _trace_block(trunk, block, load, rows, grad)
        traced, entering = kinds[key]
        blocks.append(Kept(entering, _attention_bytes(trunk, load, rows), traced.kept, traced.peak))
        forward += traced.forward_flops + flops / load.sequence
        backward += traced.backward_flops + ATTENTION_BACKWARD * flops / load.sequence * (grad != "none")
        attention += flops / load.sequence
    outside = nn.ModuleList(m for part in (network, trunk) for m in part.children() if m not in (trunk, trunk.blocks))
    with _kind(outside, load.dtype, learns=grad == "weights"):
        around = _trace_around(network, load, grad)
    taps = len(getattr(network, "taps", ()))
    return Costs(
        forward + around.forward_flops,
        attention,
        backward + around.backward_flops,
        blocks,
        Kept(0, 0, around.kept, around.peak),
        taps * load.tokens * trunk.width * load.dtype.itemsize,
    )


@contextlib.contextmanager
def _kind(layers: nn.Module, dtype: torch.dtype, *, learns: bool) -> Iterator[None]:
    # Layers for a while in the type they compute in, frozen if they do not learn.
    before = [(p, p.data, p.requires_grad) for p in layers.parameters()]
    for p, data, learning in before:
        p.data = data.to(dtype)
        p.requires_grad_(learning and learns)
    try:
        yield
    finally:
        for p, data, learning in before:
            p.data = data
            p.requires_grad_(learning)


def _empty(*shape: int, dtype: torch.dtype = torch.long, grad: bool = False) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta", requires_grad=grad)


def _trace_block(trunk: Trunk, block: MMBlock, load: Load, rows: int, grad: str) -> tuple[Traced, int]:
    clips, width = len(load.grids), trunk.width
    tokens, text, rows = load.mine(load.tokens), load.mine(clips * load.text), load.mine(rows)
    passes = grad != "none"
    shapes = (tokens, width), (text, width), (clips, width, 2, 3)
    video, words, condition = (_empty(*shape, dtype=load.dtype, grad=passes) for shape in shapes)
    plan = _plan(tokens, text, rows, clips)
    rotation = Rotation(*(_empty(n, trunk.rope.dim // 2, 2, dtype=torch.float32) for n in (tokens, text)))
    owners = _empty(tokens), _empty(text)
    traced = trace(
        block,
        lambda *x: block(*x, *owners, plan, rotation),
        video,
        words,
        condition,
        backward=passes,
        gpu=load.gpu,
    )
    return traced, video.nbytes + words.nbytes


def _plan(tokens: int, text: int, rows: int, clips: int) -> WindowPlan:
    # As many rows of everything as one rank has work for: with n peers it sees n times the tokens of 1/n of the heads.
    each = [len(part) for part in torch.empty(tokens, device="meta").tensor_split(clips)]
    texts = [len(part) for part in torch.empty(text, device="meta").tensor_split(clips)]
    windows = max(1, (rows - tokens) // max(1, text))
    return WindowPlan(
        video_tokens=tokens,
        text_tokens=text,
        order=_empty(rows),
        runs=[(1, rows)],
        starts=_empty(2, dtype=torch.int32),
        video_rows=_empty(tokens),
        text_rows=[_empty(windows, n) for n in texts],
        position=_empty(tokens, 3),
        extent=_empty(tokens, 3),
        text_position=_empty(text),
        text_before=_empty(tokens),
        clip_of_video=_empty(tokens),
        clip_of_text=_empty(text),
        clip_lengths=each,
    )


def _attention_bytes(trunk: Trunk, load: Load, rows: int) -> int:
    # Selective recomputation: the output of attention, and with peers those of both exchanges.
    width, heads = head_width(trunk), trunk.heads
    kept = load.mine(rows) * (width * load.dtype.itemsize + SCORE_BYTES * heads)
    if load.sequence > 1:
        mine = load.mine(load.tokens) + load.mine(len(load.grids) * load.text)
        kept += 4 * mine * width * load.dtype.itemsize
    return kept


def _trace_around(network: nn.Module, load: Load, grad: str) -> Traced:
    # Projections into and out of the trunk, the time embedding, the heads of a discriminator.
    trunk, passes = network.trunk, grad != "none"
    clips, tokens, text = len(load.grids), load.mine(load.tokens), load.mine(len(load.grids) * load.text)
    patches = _empty(tokens, trunk.vid_in.proj.in_features, dtype=load.dtype, grad=passes)
    words = _empty(text, trunk.txt_in.in_features, dtype=load.dtype)
    when, owners = _empty(clips, dtype=torch.float32), _empty(tokens)
    plan = _plan(tokens, text, tokens, clips)

    def call(patches: Tensor, words: Tensor, when: Tensor) -> list[Tensor]:
        video, condition = trunk.vid_in(patches), trunk.emb_in(when)
        out = [trunk.txt_in(words)]
        if heads := getattr(network, "heads", None):
            return [*out, condition, *(head(video, plan) for head in heads)]
        if network.vid_out_norm is not None:
            video = network.vid_out_ada(network.vid_out_norm(video), condition, owners)
        return [*out, condition, network.vid_out(video)]

    return trace(network, call, patches, words, when, backward=passes, gpu=load.gpu)


@functools.lru_cache(maxsize=64)
def vae_costs(vae: nn.Module, frames: int, height: int, width: int, clips: int, *, grad: bool) -> Costs:
    """Costs of the VAE in fp32 on whole clips: encoding and decoding with gradients, or encoding alone without."""
    pixels = _empty(clips, 3, frames, height, width, dtype=torch.float32)

    def call(x: Tensor):
        posterior = vae.encode(x)
        return vae.decode(posterior.mean) if grad else posterior.mean

    traced = trace(vae, call, pixels, backward=grad)
    kept = Kept(0, 0, traced.kept + pixels.nbytes, traced.peak)
    return Costs(traced.forward_flops, 0.0, traced.backward_flops, [], kept, 0)


def latent_grid(frames: int, height: int, width: int) -> Size:
    """Token grid of a clip in pixels."""
    side = 8 * PATCH
    return (frames - 1) // 4 + 1, height // side, width // side
