"""Released SeedVR/SeedVR2 weights <-> our networks: configs, names, strict loading.

Our modules carry the released names, apart from the trunk's prefix and the RoPE frequencies, which the released files
store as buffers and we compute; `to_released` and `from_released` add and remove both.
"""

import functools
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from seedvr2.errors import UserError
from seedvr2.models.dit import SwinMMDiT, Trunk
from seedvr2.models.layers import GeluMLP, SwiGLU
from seedvr2.models.released_vae import vae_from_released
from seedvr2.models.rope import JointRope, VideoRope
from seedvr2.models.weight_files import read_state_dict
from seedvr2.models.windows import adaptive_window

__all__ = ["RELEASED", "dit_from_released", "from_released", "read_state_dict", "to_released", "vae_from_released"]

_TRUNK = "trunk."
_FREQUENCIES = "blocks.{}.attn.rope.rope.freqs"

_WINDOW_METHODS = ("720pwin_by_size_bysize", "720pswin_by_size_bysize")  # regular, shifted
# Read by the released code but without effect on its result (architecture.md §2.1 of the model facts).
_NO_EFFECT = {"__object__", "txt_in_norm", "msa_type", "shared_mlp", "shared_qkv", "qk_rope", "txt_dim", "emb_dim"}
_FIXED = {
    "norm": "fusedrms",
    "qk_norm": "fusedrms",
    "norm_eps": 1e-5,
    "ada": "single",
    "qk_bias": False,
    "patch_size": [1, 2, 2],
}
_SIZES = {
    "vid_in_channels",
    "vid_out_channels",
    "vid_dim",
    "txt_in_dim",
    "heads",
    "head_dim",
    "expand_ratio",
    "num_layers",
}
_FAMILY = {"mm_layers", "mlp_type", "rope_type", "rope_dim", "vid_out_norm", "block_type", "window", "window_method"}
_NAMES_SHOWN = 3


def _released_config(*, layers: int, window=(4, 3, 3), **sizes) -> dict:
    return {
        "vid_in_channels": 33,
        "vid_out_channels": 16,
        "txt_in_dim": 5120,
        "head_dim": 128,
        "expand_ratio": 4,
        "num_layers": layers,
        "window": [list(window)] * layers,
        "window_method": [_WINDOW_METHODS[i % 2] for i in range(layers)],
        "block_type": ["mmdit_sr"] * layers,
        **_FIXED,
        **sizes,
    }


RELEASED = {
    "3b": _released_config(
        layers=32,
        vid_dim=2560,
        heads=20,
        mm_layers=10,
        mlp_type="swiglu",
        rope_type="mmrope3d",
        rope_dim=128,
        vid_out_norm="fusedrms",
    ),
    "7b": _released_config(layers=36, vid_dim=3072, heads=24, mlp_type="normal", qk_rope=True),
    "vae": {
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "latent_channels": 16,
    },
}


def dit_from_released(config: Mapping, state_dict: Mapping[str, Tensor] | None) -> SwinMMDiT:
    """Build a generator from a released config and load its state dict strictly.

    config: released names (`vid_dim`, `num_layers`, `mm_layers`, `rope_type`, ...). state_dict: released keys, or None
    to build without loading (for the meta device). Raises UserError that names unknown config keys, and missing,
    unexpected or misshapen entries.
    """
    model = _build(config)
    if state_dict is not None:
        load_released(model, state_dict)
    return model


def _build(config: Mapping) -> SwinMMDiT:
    config = _checked(config)
    layers = config["num_layers"]
    joint = config.get("rope_type") == "mmrope3d"
    trunk = functools.partial(
        Trunk,
        width=config["vid_dim"],
        heads=config["heads"],
        head_dim=config["head_dim"],
        layers=layers,
        separate_layers=config.get("mm_layers", layers),
        rope=JointRope(config["rope_dim"]) if joint else VideoRope(config["head_dim"] // 2),
        mlp=functools.partial(SwiGLU if config["mlp_type"] == "swiglu" else GeluMLP, expand=config["expand_ratio"]),
        window=functools.partial(adaptive_window, windows=tuple(config["window"][0])),
        text_modulated_last=not joint,
        in_channels=config["vid_in_channels"],
        text_dim=config["txt_in_dim"],
    )
    return SwinMMDiT(
        trunk=trunk, output_norm=config.get("vid_out_norm") is not None, out_channels=config["vid_out_channels"]
    )


def _checked(config: Mapping) -> dict:
    """The config with its per-layer values spelled out; raises UserError for anything the networks cannot follow."""
    if unknown := set(config) - _NO_EFFECT - set(_FIXED) - _SIZES - _FAMILY:
        raise UserError(f"released config has unknown keys {sorted(unknown)}: remove them")
    needed = (
        _SIZES
        | {"mlp_type", "window", "window_method"}
        | ({"rope_dim"} if config.get("rope_type") == "mmrope3d" else set())
    )
    if missing := needed - set(config):
        raise UserError(f"released config lacks the keys {sorted(missing)}: add them")
    choices = {
        "mlp_type": ("swiglu", "normal"),
        "rope_type": (None, "mmrope3d", "rope3d"),
        "vid_out_norm": (None, "fusedrms"),
    }
    for key, values in choices.items():
        if config.get(key) not in values:
            raise UserError(f"released config has {key}={config.get(key)!r}: use one of {values}")
    config = _per_layer(config)
    layers = config["num_layers"]
    expected = {
        **_FIXED,
        "txt_dim": config["vid_dim"],
        "emb_dim": 6 * config["vid_dim"],
        "block_type": ["mmdit_sr"] * layers,
        "window": [list(config["window"][0])] * layers,
        "window_method": [_WINDOW_METHODS[i % 2] for i in range(layers)],
        "shared_mlp": False,
        "shared_qkv": False,
        "qk_rope": True,
        **({} if config.get("rope_type") == "mmrope3d" else {"rope_dim": config["head_dim"] // 2}),
    }
    for key, value in expected.items():
        found = config.get(key, value)
        if (list(map(_plain, found)) if isinstance(found, list | tuple) else found) != value:
            raise UserError(f"released config has {key}={found!r}, but only {value!r} is supported")
    return config


def _per_layer(config: Mapping) -> dict:
    """The config with one entry per layer where it gives one block type or one window (three numbers) for all."""
    layers, config = config["num_layers"], dict(config)
    if isinstance(config["window"][0], int):
        config["window"] = [config["window"]] * layers
    if isinstance(config.get("block_type"), str):
        config["block_type"] = [config["block_type"]] * layers
    return config


def _plain(value):
    return list(value) if isinstance(value, list | tuple) else value


def to_released(network: nn.Module) -> dict[str, Tensor]:
    """State dict of a generator (or of a discriminator's trunk and heads) under the released names."""
    state = {key.removeprefix(_TRUNK): value for key, value in network.state_dict().items()}
    return _with_frequencies(network, state)


def _with_frequencies(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    trunk = getattr(network, "trunk", None)
    if isinstance(trunk, Trunk):
        for i in range(trunk.layers):
            state[_FREQUENCIES.format(i)] = trunk.rope.frequencies()
    return state


def from_released(network: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The released state dict under the network's own names; raises UserError for any key or shape that does not
    fit.
    """
    own = network.state_dict()
    names = {key.removeprefix(_TRUNK): key for key in own}
    wanted = _with_frequencies(network, {released: own[key] for released, key in names.items()})
    missing, unexpected = sorted(wanted.keys() - state_dict.keys()), sorted(state_dict.keys() - wanted.keys())
    shapes = [
        f"{key} {tuple(state_dict[key].shape)} instead of {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in state_dict and state_dict[key].shape != value.shape
    ]
    if missing or unexpected or shapes:
        faults = {"missing": missing, "unexpected": unexpected, "wrong shape": shapes}
        listed = "; ".join(f"{len(keys)} {kind}: {_listing(keys)}" for kind, keys in faults.items() if keys)
        raise UserError(
            f"these weights do not fit {type(network).__name__} ({listed}): use the file of the same model and size"
        )
    for key in wanted.keys() - names.keys():
        found, right = state_dict[key], wanted[key]
        if found.is_meta or right.is_meta:  # shapes only
            continue
        stored = right.to(found.dtype).to(right)  # in 8 bits they are far from what they should be
        if not torch.allclose(found.to(right), stored, rtol=1e-2):
            raise UserError(f"{key} holds other RoPE frequencies than this family's: use weights of the same family")
    return {own_name: state_dict[released] for released, own_name in names.items()}


def _listing(names: list[str]) -> str:
    return ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")


def load_released(network: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Load a released state dict into a network strictly; a network on the meta device takes the tensors over as they
    are.
    """
    on_meta = any(parameter.is_meta for parameter in network.parameters())
    network.load_state_dict(from_released(network, state_dict), assign=on_meta)
