"""Text conditions: the fixed positive and negative prompts of restoration, and the null prompt."""

import torch
from torch import Tensor, nn

from seedvr2.errors import UserError

KINDS = ("positive", "negative", "null")


class Prompts(nn.Module):
    """Token embeddings of the prompts (n, dim); a table to learn, or filled with the released `pos_emb.pt` and
    `neg_emb.pt`.
    """

    def __init__(self, *, tokens: int = 8, dim: int = 64, negative_tokens: int | None = None, trainable: bool = True):
        super().__init__()
        lengths = {"positive": tokens, "negative": negative_tokens or tokens, "null": tokens}
        for kind in KINDS:
            self.register_parameter(kind, nn.Parameter(torch.empty(lengths[kind], dim), requires_grad=trainable))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for kind in KINDS:
            nn.init.normal_(getattr(self, kind))

    def forward(self, kind: str) -> Tensor:
        """The embedding (n, dim) of a prompt: positive, negative or null."""
        if kind not in KINDS:
            raise UserError(f"prompt {kind!r} does not exist: use one of {', '.join(KINDS)}")
        return getattr(self, kind)
