"""Measure what storing weights in 8 bits costs: outputs of generators with int8 and fp8 weights against those in bf16.

    python scripts/compare_storage.py [MODEL ...]

MODEL: tiny (default), another name or a folder as for `seedvr2.infer --model`. Prints the relative L2 error of the
restored latents and the PSNR of the frames decoded from them, over drawn scenes; with the error of bf16 itself against
fp32, to compare.
"""

import argparse

import numpy as np
import torch

from seedvr2.data.procedural import ProceduralClips
from seedvr2.errors import main_guard
from seedvr2.models.codec import LatentCodec
from seedvr2.models.storage import STORAGES, store
from seedvr2.restore.generation import Generation
from seedvr2.restore.models import load_model
from seedvr2.restore.search import find_model

FRAMES, SIDE, CLIPS = 17, 128, 3
CPU = torch.device("cpu")


def main() -> None:
    """Compare every storage of every model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["tiny"])
    for name in parser.parse_args().models:
        exact = restored(name, torch.float32, "full")
        half = restored(name, torch.bfloat16, "full")
        report(f"{name}: bf16 against fp32", half, exact)
        for kind in STORAGES[1:]:
            report(f"{name}: {kind} against bf16", restored(name, torch.bfloat16, kind), half)


@torch.no_grad()
def restored(name: str, dtype: torch.dtype, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and frames of all clips; the autoencoder is in fp32, so that the generator alone differs."""
    files = find_model(name, has_gpu=False)
    model = load_model(files, device=CPU, dtype=torch.float32, posterior="mean")
    codec = LatentCodec(model.codec.vae, model.codec.scale, "mean")
    generation = Generation(store(model.generator.to(dtype), kind), prompt=model.prompt, dtype=dtype)
    latents, frames = [], []
    for seed in range(CLIPS):
        clip = ProceduralClips().clip(np.random.default_rng(seed), FRAMES, SIDE, SIDE)
        lq = torch.from_numpy(clip).movedim(-1, 1).float() * 2 - 1
        latents.append(generation(codec.encode(lq), 0))
        frames.append(codec.decode(latents[-1]))
    return torch.cat(latents), torch.cat(frames)


def report(what: str, found: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...]) -> None:
    """Print both errors."""
    error = (found[0] - expected[0]).norm() / expected[0].norm()
    noise = (found[1].clamp(-1, 1) - expected[1].clamp(-1, 1)).square().mean()
    print(f"{what:32} relative L2 {error:.2%}, PSNR {-10 * (noise / 4).log10():.1f} dB", flush=True)


if __name__ == "__main__":
    with main_guard("compare_storage"):
        main()
