"""Joint attention of video and text inside windows, and the learned query of the discriminator.

Everything token-wise (projections, norms) is here in plain layers; a *core* is the head-wise rest. A core receives
whole sequences and reads the number of heads from its input, so sequence parallelism can hand it some heads of all
tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedvr2.models.layers import PerModality, RMSNorm
from seedvr2.models.rope import Rotation, rotate
from seedvr2.models.varlen import varlen_attention
from seedvr2.models.windows import WindowPlan

Heads = tuple[Tensor, Tensor, Tensor]  # queries, keys and values, (L, H, D) each


class WindowAttention(nn.Module):
    """Core: every window attends to its video tokens and to all text of its clip; text averages over its windows."""

    def forward(self, video: Heads, text: Heads, plan: WindowPlan, rotation: Rotation) -> tuple[Tensor, Tensor]:
        """video: (L, H, D), text: (M, H, D), queries, keys and values -> (L, H, D), (M, H, D)."""
        video, text = _turn(video, rotation.video), _turn(text, rotation.text)
        packed = [rows_of(torch.cat(both), plan.order) for both in zip(video, text, strict=True)]  # (P, H, D) each
        out = varlen_attention(*packed, plan.runs, starts=plan.starts)
        text_out = [rows_of(out, rows.flatten()).unflatten(0, rows.shape).mean(dim=0) for rows in plan.text_rows]
        return rows_of(out, plan.video_rows), torch.cat(text_out)


def rows_of(x: Tensor, rows: Tensor) -> Tensor:
    """x[rows] of x (L, H, D), several times faster than by indexing."""
    return F.embedding(rows, x.flatten(1)).unflatten(1, x.shape[1:])


def _turn(heads: Heads, turn: Tensor | None) -> Heads:
    q, k, v = heads
    return heads if turn is None else (rotate(q, turn), rotate(k, turn), v)


class MMAttention(nn.Module):
    """Windowed attention layer of a dual-stream (or weight-shared) block."""

    def __init__(self, dim: int, heads: int, head_dim: int, *, shared: bool):
        super().__init__()
        self.heads = heads
        self.proj_qkv = PerModality(lambda: nn.Linear(dim, 3 * heads * head_dim, bias=False), shared=shared)
        self.norm_q = PerModality(lambda: RMSNorm(head_dim), shared=shared)
        self.norm_k = PerModality(lambda: RMSNorm(head_dim), shared=shared)
        self.core = WindowAttention()
        self.proj_out = PerModality(lambda: nn.Linear(heads * head_dim, dim), shared=shared)

    def forward(
        self, video: Tensor, text: Tensor, plan: WindowPlan, rotation: Rotation, *, text_needed: bool
    ) -> tuple[Tensor, Tensor | None]:
        """video: (L, C), text: (M, C) -> the same shapes; no text output if it is not needed."""
        video = self._heads(video, self.proj_qkv.video, self.norm_q.video, self.norm_k.video)
        text = self._heads(text, self.proj_qkv.text, self.norm_q.text, self.norm_k.text)
        video, text = self.core(video, text, plan, rotation)
        text = self.proj_out.text(text.flatten(1)) if text_needed else None
        return self.proj_out.video(video.flatten(1)), text

    def _heads(self, x: Tensor, project: nn.Module, norm_q: nn.Module, norm_k: nn.Module) -> Heads:
        q, k, v = project(x).unflatten(-1, (3, self.heads, -1)).unbind(1)
        return norm_q(q).to(v.dtype), norm_k(k).to(v.dtype), v  # autocast may norm in fp32


class QueryAttention(nn.Module):
    """Core: one query attends to all video tokens of each clip."""

    def forward(self, query: Tensor, keys_values: Tensor, plan: WindowPlan) -> Tensor:
        """query: (H, D), keys_values: (L, 2, H, D) -> (B, H, D)."""
        clips = [
            F.scaled_dot_product_attention(query[:, None], k.transpose(0, 1), v.transpose(0, 1))  # (H, 1, D)
            for k, v in (clip.unbind(1) for clip in keys_values.split(plan.clip_lengths))
        ]
        return torch.stack(clips).squeeze(2)
