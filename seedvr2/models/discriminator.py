"""The discriminator of adversarial post-training (§3.1, Fig. 2): the diffusion trunk with cross-attention heads on
three depths.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedvr2.errors import UserError
from seedvr2.models.attention import QueryAttention
from seedvr2.models.dit import Trunk
from seedvr2.models.layers import RMSNorm
from seedvr2.models.windows import Size, WindowPlan

PAPER_DEPTH, PAPER_TAPS = 36, (16, 26, 36)


def proportional_taps(layers: int) -> tuple[int, ...]:
    """Blocks 16, 26 and 36 of 36, moved to a network of another depth (32 layers: 14, 23, 32)."""
    return tuple(max(1, round(layers * tap / PAPER_DEPTH)) for tap in PAPER_TAPS)


class CriticHead(nn.Module):
    """Cross-attention block with one learned query over all video tokens of a clip, then an MLP."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads, head_dim = heads, dim // heads
        self.query = nn.Parameter(torch.empty(dim))
        self.norm_in = RMSNorm(dim)
        self.proj_q = nn.Linear(dim, dim, bias=False)
        self.proj_kv = nn.Linear(dim, 2 * dim, bias=False)
        self.norm_q, self.norm_k = RMSNorm(head_dim), RMSNorm(head_dim)
        self.core = QueryAttention()
        self.proj_out = nn.Linear(dim, dim)
        self.norm_mlp = RMSNorm(dim)
        self.mlp_in, self.mlp_out = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.query, std=0.02)

    def forward(self, tokens: Tensor, plan: WindowPlan) -> Tensor:
        """tokens: (L, C) of all clips -> (B, C)."""
        query = self.norm_q(self.proj_q(self.query).unflatten(-1, (self.heads, -1)))  # (H, D)
        k, v = self.proj_kv(self.norm_in(tokens)).unflatten(-1, (2, self.heads, -1)).unbind(1)
        attended = self.core(query, torch.stack([self.norm_k(k), v], dim=1), plan)
        token = self.query + self.proj_out(attended.flatten(1))
        return token + self.mlp_out(F.gelu(self.mlp_in(self.norm_mlp(token))))


class TokenHead(nn.Module):
    """An MLP on every token by itself, for one logit per token."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm_in = RMSNorm(dim)
        self.mlp_in, self.mlp_out = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, plan: WindowPlan) -> Tensor:
        """tokens: (L, C) -> (L, C)."""
        return self.mlp_out(F.gelu(self.mlp_in(self.norm_in(tokens))))


class Verdict(nn.Module):
    """Rows of all heads (B or L, taps x C) -> logits (B or L,), never in half precision.

    Neither norm nor projection has a bias: relativistic losses see differences only, so a bias would have zero gradient
    and the optimizer would let it drift.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.norm, self.logit = nn.LayerNorm(dim, bias=False), nn.Linear(dim, 1, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        # penalties live in differences that bf16 would round away
        with torch.autocast(tokens.device.type, enabled=False):
            return self.logit(self.norm(tokens.to(self.logit.weight.dtype))).squeeze(-1)


class Discriminator(nn.Module):
    """Scores a clean latent, given its LQ latent and text, with one logit per clip, or (ours) one per video token.

    logits: what has one. taps: block numbers (from 1) that heads read; None places them as in the paper, in proportion
    to the depth. Raises UserError for taps that do not rise or lie outside the trunk.
    """

    def __init__(
        self,
        *,
        trunk: Callable[[], Trunk],
        taps: Sequence[int] | None = None,
        logits: Literal["clip", "token"] = "clip",
    ):
        super().__init__()
        self.trunk = trunk()
        self.taps = tuple(taps) if taps is not None else proportional_taps(self.trunk.layers)
        if sorted(set(self.taps)) != list(self.taps) or not 1 <= self.taps[0] <= self.taps[-1] <= self.trunk.layers:
            raise UserError(f"taps {self.taps} must be rising block numbers from 1 to {self.trunk.layers}")
        width, self.per_token = self.trunk.width, logits == "token"
        self.heads = nn.ModuleList(
            TokenHead(width) if self.per_token else CriticHead(width, self.trunk.heads) for _ in self.taps
        )
        self.verdict = Verdict(len(self.taps) * width)

    def forward(
        self,
        vid: Tensor,
        txt: Tensor,
        vid_shape: Sequence[Size] | Tensor,
        txt_shape: Sequence[int] | Tensor,
        timestep: Tensor,
    ) -> tuple[Tensor, list[Tensor]]:
        """Inputs as the generator's, with the sample in place of the noise -> logits (B,), or (L,) with one per token,
        and tapped features [(L, C)].
        """
        _, tapped, _, _, plan = self.trunk(vid, txt, vid_shape, txt_shape, timestep, taps=self.taps)
        scores = torch.cat([head(x, plan) for head, x in zip(self.heads, tapped, strict=True)], dim=-1)
        logits = self.verdict(scores)
        if self.per_token:
            logits = self.trunk.leave(plan, logits[:, None]).squeeze(-1)
        return logits, [self.trunk.leave(plan, x) for x in tapped]
