"""Builds a `VideoVAE` from the configuration and state dict of the released video VAE, strictly."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from seedvr2.errors import UserError
from seedvr2.models.vae.autoencoder import VideoVAE

BUILD_KEYS = {
    "block_out_channels": "channels",
    "layers_per_block": "layers",
    "norm_num_groups": "groups",
    "latent_channels": "latent_channels",
}
FIXED = {
    "act_fn": "silu",
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock3D",) * 4,
    "up_block_types": ("UpDecoderBlock3D",) * 4,
    "temporal_scale_num": 2,
    "spatial_downsample_factor": 8,
    "temporal_downsample_factor": 4,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
# How the release finds its class, converts older weights, cuts clips into slices and trains: nothing about the network.
WITHOUT_EFFECT = {"__object__", "inflation_mode", "slicing_sample_min_size", "freeze_encoder"}
NAMES_SHOWN = 3


def vae_from_released(config: Mapping[str, object], state_dict: Mapping[str, Tensor]) -> VideoVAE:
    """Build the VAE that the released files describe, with its weights copied to float32.

    Args:
        config: the released configuration, or its `model` part.
        state_dict: the released weights by name, in any floating-point type.

    Returns:
        The VAE; as in the release, decoding a single latent frame returns an image without a time axis.

    Raises:
        UserError: naming configuration keys or values that are not supported, or weights that are missing, unexpected
            or of the wrong shape.
    """
    arguments = _build_arguments(config.get("model", config))
    with torch.device("meta"):
        vae = VideoVAE(**arguments, squeeze_images=True)
    _check_weights({name: weight.shape for name, weight in vae.state_dict().items()}, state_dict)
    weights = {name: weight.to(torch.float32, copy=True) for name, weight in state_dict.items()}
    vae.load_state_dict(weights, assign=True)
    return vae


def vae_shapes(config: Mapping[str, object]) -> dict[str, torch.Size]:
    """The shape of every weight of the VAE of a released configuration, by name."""
    with torch.device("meta"):
        vae = VideoVAE(**_build_arguments(config.get("model", config)))
    return {name: weight.shape for name, weight in vae.state_dict().items()}


def _build_arguments(config: Mapping[str, object]) -> dict:
    """Return the arguments of `VideoVAE`, or raise `UserError` for a configuration it cannot follow."""
    unknown = sorted(set(config) - BUILD_KEYS.keys() - FIXED.keys() - WITHOUT_EFFECT)
    if unknown:
        raise UserError(f"the VAE configuration has unknown keys {', '.join(unknown)}: give that of the released VAE")
    missing = sorted(BUILD_KEYS.keys() - config.keys())
    if missing:
        raise UserError(f"the VAE configuration lacks {', '.join(missing)}: give the `model` part of the released file")
    plain = {key: _plain(value) for key, value in config.items()}
    faults = [
        f"{key} = {plain[key]!r} (must be {value!r})" for key, value in FIXED.items() if plain.get(key, value) != value
    ]
    for key in BUILD_KEYS:
        counts, kind = (plain[key], "a list of numbers") if key == "block_out_channels" else ((plain[key],), "a number")
        if not isinstance(counts, tuple) or not all(isinstance(count, int) for count in counts):
            faults.append(f"{key} = {plain[key]!r} (must be {kind})")
    if faults:
        raise UserError(f"the VAE configuration has unsupported values: {', '.join(faults)}")
    return {name: plain[key] for key, name in BUILD_KEYS.items()}


def _plain(value: object) -> object:
    """Return lists of any kind as tuples, so that they compare by content."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _check_weights(shapes: Mapping[str, torch.Size], state_dict: Mapping[str, Tensor]) -> None:
    """Raise one `UserError` for all weights that differ from `shapes` by name or shape."""
    wrong = [
        f"{name} is {tuple(state_dict[name].shape)} instead of {tuple(shape)}"
        for name, shape in shapes.items()
        if name in state_dict and state_dict[name].shape != shape
    ]
    found = {
        "missing": sorted(shapes.keys() - state_dict.keys()),
        "unexpected": sorted(state_dict.keys() - shapes.keys()),
        "of the wrong shape": wrong,
    }
    faults = [f"{len(names)} {kind} ({_listing(names)})" for kind, names in found.items() if names]
    if faults:
        raise UserError(f"these are not the weights of this VAE: {'; '.join(faults)}")


def _listing(names: Sequence[str]) -> str:
    """Join the first few names and count the rest."""
    rest = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
