"""Weight-only storage: the large linear layers of a generator in eight bits, computed with in the type of their input.

Each output channel has a scale of its own. Norms, embeddings, modulation and the layers into and out of the trunk stay.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedvr2.errors import UserError

FULL = "full"
_MOST = {"int8": 127.0, "fp8": 448.0}  # the largest value of the type
_TYPES = {"int8": torch.int8, "fp8": torch.float8_e4m3fn}
STORAGES = (FULL, *_TYPES)


class StoredLinear(nn.Module):
    """A linear layer whose weight (out, in) is kept as eight-bit numbers times a scale per output channel."""

    def __init__(self, layer: nn.Linear, kind: str):
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight = layer.weight.detach().float()
        scale = weight.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / _MOST[kind]
        scaled = weight / scale
        self.dtype = layer.weight.dtype
        self.bias = layer.bias
        self.register_buffer("stored", (scaled.round() if kind == "int8" else scaled).to(_TYPES[kind]))
        self.register_buffer("scale", scale.to(self.dtype))

    @property
    def weight(self) -> Tensor:
        """The weight (out, in) in the type that the layer had."""
        return self.stored.to(self.dtype) * self.scale

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return F.linear(x, self.weight, self.bias)


def store(generator: nn.Module, kind: str) -> nn.Module:
    """Replace the linear layers of a generator's blocks, layer by layer, by stored ones; returns the generator.

    kind: one of `STORAGES`; "full" changes nothing. The weights are expected in the type that is computed in. Raises
    UserError for another kind.
    """
    if kind not in STORAGES:
        raise UserError(f"weights cannot be stored as {kind!r}; use one of {', '.join(STORAGES)}")
    if kind == FULL:
        return generator
    for parent in list(generator.trunk.blocks.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                setattr(parent, name, StoredLinear(layer, kind))
    return generator
