"""The models that `bench_infer` measures: bundled, released, or random of the released shapes."""

import argparse
from pathlib import Path

import torch
from roofline import PROMPT

from seedvr2.models.codec import LatentCodec
from seedvr2.models.released import RELEASED, dit_from_released, to_released
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.restore.models import load_model
from seedvr2.restore.plan.settings import overlap_of
from seedvr2.restore.search import OWN_WINDOW, RELEASED_WINDOW, fetched, find_model
from seedvr2.restore.shot import ShotRestorer
from seedvr2.training.catalogue import RELEASED_VAE
from seedvr2.training.weights import NEGATIVE, POSITIVE


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
    window = (window - 1) // 4 + 1
    return ShotRestorer(
        generator,
        codec,
        prompt=prompt,
        window=window,
        overlap=overlap_of(window),
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


def weights_of(model: str, options: argparse.Namespace, restorer: ShotRestorer, folder: Path) -> Path:
    """A folder with the weights of a restorer: where they were loaded from, else `folder` with them as released files
    (the prompt as both of its embeddings).
    """
    if model == "tiny" or options.real:
        return find_model(model, has_gpu=True).generator.parent
    generation, vae = restorer.generation, restorer.codec.vae
    torch.save(to_released(generation.generator), folder / f"seedvr2_ema_{model}.pth")
    torch.save(vae.state_dict(), folder / RELEASED_VAE)
    for name in (POSITIVE, NEGATIVE):
        torch.save(generation.prompt, folder / name)
    return folder
