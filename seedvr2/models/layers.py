"""Token-wise parts of Swin-MMDiT: norms, MLPs, time embedding, modulation, and the seams of the token-wise region."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PerModality(nn.ModuleDict):
    """One layer for video and one for text (`vid`, `txt`), or a single one shared by both (`all`)."""

    def __init__(self, build, *, shared: bool):
        super().__init__({"all": build()} if shared else {"vid": build(), "txt": build()})

    @property
    def video(self) -> nn.Module:
        """The layer that video tokens pass."""
        return self["all" if "all" in self else "vid"]

    @property
    def text(self) -> nn.Module:
        """The layer that text tokens pass."""
        return self["all" if "all" in self else "txt"]


class RMSNorm(nn.Module):
    """x / rms(x) over the last axis, times a weight if `affine`; statistics in fp32."""

    def __init__(self, dim: int, *, affine: bool = True, eps: float = 1e-5):
        super().__init__()
        self.dim, self.eps = dim, eps
        self.weight = nn.Parameter(torch.ones(dim)) if affine else None

    def reset_parameters(self) -> None:
        if self.weight is not None:
            nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.to(x.dtype)
        return F.rms_norm(x, (self.dim,), weight, self.eps)


class GeluMLP(nn.Module):
    """Linear, GELU(tanh), Linear with biases; hidden width `expand` x dim (7B family)."""

    def __init__(self, dim: int, *, expand: int = 4):
        super().__init__()
        self.proj_in = nn.Linear(dim, expand * dim)
        self.proj_out = nn.Linear(expand * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj_out(F.gelu(self.proj_in(x), approximate="tanh"))


class SwiGLU(nn.Module):
    """Gated MLP without biases; hidden width 2/3 of `expand` x dim, rounded up to a multiple of 256 (3B family)."""

    def __init__(self, dim: int, *, expand: int = 4):
        super().__init__()
        hidden = math.ceil(int(2 * dim * expand / 3) / 256) * 256
        self.proj_in_gate = nn.Linear(dim, hidden, bias=False)
        self.proj_in = nn.Linear(dim, hidden, bias=False)
        self.proj_out = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj_out(F.silu(self.proj_in_gate(x)) * self.proj_in(x))


class TimeEmbedding(nn.Module):
    """Timestep in [0, 1000] -> shift, scale and gate of attention and MLP for every channel."""

    frequencies = 128

    def __init__(self, dim: int):
        super().__init__()
        self.proj_in = nn.Linear(2 * self.frequencies, dim)
        self.proj_hid = nn.Linear(dim, dim)
        self.proj_out = nn.Linear(dim, 6 * dim)

    def forward(self, timestep: Tensor) -> Tensor:
        """timestep: (B,), not in half precision (bf16 cannot tell 999 from 1000) -> (B, C, 2, 3): [attention, MLP] x
        [shift, scale, gate].
        """
        if timestep.dtype in (torch.bfloat16, torch.float16):
            raise TypeError(f"timestep must be fp32, not {timestep.dtype}: half precision merges late timesteps")
        steps = torch.arange(self.frequencies, device=timestep.device, dtype=torch.float32)
        angles = timestep.float()[:, None] * torch.exp(-math.log(10000) / self.frequencies * steps)
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1).to(self.proj_in.weight.dtype)
        hidden = F.silu(self.proj_hid(F.silu(self.proj_in(waves))))
        return self.proj_out(hidden).unflatten(-1, (-1, 2, 3))


class Modulation(nn.Module):
    """Learned shift, scale and gate of one modality, added to those of the time embedding (no `1 +`: scales start near
    1).
    """

    def __init__(self, dim: int):
        super().__init__()
        for part in ("attn", "mlp"):
            for name in ("shift", "scale", "gate"):
                self.register_parameter(f"{part}_{name}", nn.Parameter(torch.empty(dim)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for name, parameter in self.named_parameters():
            nn.init.normal_(parameter, mean=float(name.endswith("scale")), std=len(parameter) ** -0.5)

    def enter(self, x: Tensor, condition: Tensor, owner: Tensor, part: int) -> Tensor:
        """Scale and shift x (L, C) before attention (part 0) or MLP (part 1); condition (B, C, 2, 3), owner (L,) in
        B.
        """
        shift, scale, _ = self._vectors(condition, part)
        return torch.addcmul(per_token(shift, owner), x, per_token(scale, owner))

    def leave(self, x: Tensor, condition: Tensor, owner: Tensor, part: int) -> Tensor:
        """Gate x (L, C) after attention (part 0) or MLP (part 1)."""
        return x * per_token(self._vectors(condition, part)[2], owner)

    def _vectors(self, condition: Tensor, part: int) -> list[Tensor]:
        name = ("attn", "mlp")[part]
        return [
            condition[:, :, part, i] + getattr(self, f"{name}_{kind}")
            for i, kind in enumerate(("shift", "scale", "gate"))
        ]


class OutputModulation(nn.Module):
    """Shift and scale before the output projection (3B family); reuses the attention channels of the time embedding."""

    def __init__(self, dim: int):
        super().__init__()
        self.out_shift = nn.Parameter(torch.empty(dim))
        self.out_scale = nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.out_shift, std=len(self.out_shift) ** -0.5)
        nn.init.normal_(self.out_scale, mean=1.0, std=len(self.out_scale) ** -0.5)

    def forward(self, x: Tensor, condition: Tensor, owner: Tensor) -> Tensor:
        shift, scale = condition[:, :, 0, 0] + self.out_shift, condition[:, :, 0, 1] + self.out_scale
        return torch.addcmul(per_token(shift, owner), x, per_token(scale, owner))


def per_token(vectors: Tensor, owner: Tensor) -> Tensor:
    """Row of `vectors` (B, C) for each token: (L, C), or (1, C) to broadcast when there is one clip."""
    return vectors if len(vectors) == 1 else F.embedding(owner, vectors)


class Enter(nn.Module):
    """Start of the token-wise region: an identity on one device, the place where sequence parallelism splits tokens."""

    def forward(self, plan, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tensors


class Leave(nn.Module):
    """End of the token-wise region: an identity on one device, the place where sequence parallelism joins tokens."""

    def forward(self, plan, tokens: Tensor) -> Tensor:
        return tokens
