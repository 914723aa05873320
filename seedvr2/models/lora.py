"""LoRA (Hu et al., 2021): a frozen linear layer W learns a correction of low rank, (alpha / rank) B A."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from seedvr2.errors import UserError
from seedvr2.models.discriminator import Discriminator
from seedvr2.models.dit import ZeroLinear
from seedvr2.models.released import to_released

TARGETS = ("blocks.*.attn.proj_qkv.*", "blocks.*.attn.proj_out.*", "blocks.*.mlp.*")
DOWN, UP = "lora_a", "lora_b"  # beside the `weight` of the layer they correct
_SAMPLES = 64


@dataclass(frozen=True)
class Lora:
    """What is adapted and how strongly.

    rank: inner width of a correction. alpha: a correction is scaled by alpha / rank. targets: patterns (`*`, `?`) of
    the released names of linear layers. Raises UserError for a rank below 1 or no targets.
    """

    rank: int = 16
    alpha: float = 16.0
    targets: Sequence[str] = TARGETS

    def __post_init__(self):
        if not isinstance(self.rank, int) or self.rank < 1:
            raise UserError(f"lora rank {self.rank!r} must be a whole number of at least 1: 16 is usual")
        if isinstance(self.targets, str) or not self.targets:
            raise UserError(f"lora targets {self.targets!r} must be a list of name patterns such as {TARGETS[0]!r}")


class LoraLinear(nn.Linear):
    """A linear layer, with its own weights under their own names, plus a correction that starts at zero."""

    def __init__(self, layer: nn.Linear, lora: Lora):
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        # Corrections are small against the weights, so they are learned in full precision.
        kind = torch.promote_types(layer.weight.dtype, torch.float32)
        settings = {"bias": False, "device": layer.weight.device, "dtype": kind}
        self.add_module(DOWN, nn.Linear(layer.in_features, lora.rank, **settings))
        self.add_module(UP, ZeroLinear(lora.rank, layer.out_features, **settings))
        self.scale = lora.alpha / lora.rank

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return super().forward(x) + self.scale * self.lora_b(self.lora_a(x))


def linear_layers(network: nn.Module) -> dict[str, nn.Linear]:
    """Linear layers of a network by their released names."""
    inner = tuple(f".{name}" for name in (DOWN, UP))
    return {
        name.removeprefix("trunk."): module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and not name.endswith(inner)
    }


def add_lora(network: nn.Module, lora: Lora) -> nn.Module:
    """Freeze a network (also on the meta device) and give the targeted layers corrections that learn; returns it.

    Names of its own weights stay as they are. Raises UserError for a pattern that fits no linear layer.
    """
    network.requires_grad_(False)
    layers = linear_layers(network)
    for pattern in lora.targets:
        if not any(fnmatchcase(name, pattern) for name in layers):
            raise UserError(
                f"lora target {pattern!r} fits no linear layer of {type(network).__name__}: "
                f"their names are like {', '.join(list(layers)[-3:])}"
            )
    chosen = [layer for name, layer in layers.items() if any(fnmatchcase(name, p) for p in lora.targets)]
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if any(layer is one for one in chosen):
                parent.register_module(name, LoraLinear(layer, lora))
    return network


def adapted(*, recipe: Callable[[], nn.Module], lora: Lora) -> nn.Module:
    """Build a network and adapt it; a discriminator's trunk is adapted, its heads learn as they are."""
    network = recipe()
    if isinstance(network, Discriminator):
        add_lora(network.trunk, lora)
    else:
        add_lora(network, lora)
    return network


def is_adapter(key: str) -> bool:
    """Whether a name in a state dict belongs to a correction."""
    return key.endswith((f".{DOWN}.weight", f".{UP}.weight"))


def share_frozen(network: nn.Module, owner: nn.Module) -> int:
    """Let a network use the frozen weights of `owner` where name and values are equal; returns how many it does.

    Weights that lie in shards stay apart.
    """
    theirs, shared = dict(owner.named_parameters()), 0
    for path, module in network.named_modules():
        for own, mine in list(module.named_parameters(recurse=False)):
            other = theirs.get(f"{path}.{own}" if path else own)
            if other is None or mine.requires_grad or other.requires_grad:
                continue
            plain = type(mine) is nn.Parameter and type(other) is nn.Parameter and not mine.is_meta
            if plain and mine.dtype == other.dtype and torch.equal(mine, other):
                module.register_parameter(own, other)
                shared += 1
    return shared


@torch.no_grad()
def merge_lora(
    network: nn.Module, adapters: Mapping[str, Tensor], *, rank: int, alpha: float, base: str, strength: float = 1.0
) -> None:
    """Add strength * (alpha / rank) B A to the weights W of a plain network, in fp32.

    adapters: by released name. base: `fingerprint` of the weights they were trained on. Raises UserError if they
    belong to another network.
    """
    layers, wrong = linear_layers(network), []
    names = sorted({key.rsplit(".", 2)[0] for key in adapters})
    for name in names:
        down, up = (adapters.get(f"{name}.{part}.weight") for part in (DOWN, UP))
        if name not in layers:
            wrong.append(f"it has no linear layer {name}")
        elif down is None or up is None:
            wrong.append(f"{name} has only one of {DOWN} and {UP}")
        elif (found := (down.shape[-1], up.shape[0])) != (has := layers[name].weight.shape[::-1]):
            wrong.append(f"{name} has {tuple(has)} channels, not {found}")
        elif not len(down) == up.shape[1] == rank:
            wrong.append(f"{name} has a rank of {len(down)}, not {rank}")
    if wrong or not names:
        raise UserError(
            f"these adapters do not fit {type(network).__name__} ({wrong[0] if wrong else 'there are none'}): "
            "use the model that they were trained on"
        )
    state = to_released(network)
    if base not in (fingerprint(state, rounded=True), fingerprint(state)):
        raise UserError("these adapters were trained on other weights of the same size: use the model that they need")
    for name in names:
        down, up = (adapters[f"{name}.{part}.weight"].float() for part in (DOWN, UP))
        weight = layers[name].weight
        change = strength * (alpha / rank) * (up @ down)
        weight.copy_(weight.float() + change.to(weight.device))


def fingerprint(state: Mapping[str, Tensor], *, rounded: bool = False) -> str:
    """Short hash of released names, shapes and some values of every tensor; the storage type does not matter.

    rounded: of the values in bf16, so that a conversion of fp32 weights to it has the same hash. It tells models apart
    and does not detect damage. RoPE frequencies, which are computed, are left out.
    """
    digest = hashlib.sha256()
    for key in sorted(state):
        if key.endswith("rope.freqs"):
            continue
        value = state[key].detach()
        digest.update(f"{key}{tuple(value.shape)}".encode())
        flat = value.reshape(-1)
        some = flat[:: max(1, len(flat) // _SAMPLES)]
        some = some.bfloat16() if rounded else some
        digest.update(some.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
