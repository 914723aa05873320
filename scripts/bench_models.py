"""The models that `bench_infer` measures: bundled, released, or random of the released shapes."""

import argparse

import torch
from roofline import PROMPT

from seedvr2.models.codec import LatentCodec
from seedvr2.models.released import RELEASED, dit_from_released
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.restore.models import load_model
from seedvr2.restore.search import OWN_WINDOW, RELEASED_WINDOW, fetched, find_model
from seedvr2.restore.shot import ShotRestorer


def restorer_of(model: str, options: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> ShotRestorer:
    """A model that is ready to run."""
    if model == "tiny" or options.real:
        files = fetched(find_model(model, has_gpu=device.type != "cpu"), say=print)
        found = load_model(files, device=device, dtype=dtype, posterior="sample")
        generator, codec, prompt = found.generator, found.codec, found.prompt
    else:
        generator, vae = random_networks(model, options.layers, device, dtype)
        codec, prompt = LatentCodec(vae), torch.randn(PROMPT[model], 5120)
    window = options.window or (OWN_WINDOW if model == "tiny" else RELEASED_WINDOW)
    return ShotRestorer(
        generator,
        codec,
        prompt=prompt,
        window=(window - 1) // 4 + 1,
        overlap=min(1, (window - 1) // 4),
        color_fix="none" if model == "tiny" else "wavelet",
        device=device,
        dtype=dtype,
        chunk=options.chunk,
    )


@torch.no_grad()
def random_networks(
    model: str, layers: int | None, device: torch.device, dtype: torch.dtype
) -> tuple[torch.nn.Module, VideoVAE]:
    """Generator (its first `layers` layers, None: all) and autoencoder of the released shapes, made on the device."""
    shape = dict(RELEASED[model])
    if layers is not None:
        per_layer = ("window", "window_method", "block_type")
        shape |= {"num_layers": layers, **{name: shape[name][:layers] for name in per_layer}}
    with torch.device("meta"):
        made = dit_from_released(shape, None), VideoVAE()
    for network in made:
        network.to(dtype).to_empty(device=device).eval().requires_grad_(False)
        for name, parameter in network.named_parameters():
            gain = name.endswith("scale") or (parameter.ndim == 1 and "norm" in name and name.endswith("weight"))
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 2500
            parameter.normal_(float(gain), fan_in**-0.5)
    return made
