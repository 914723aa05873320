"""Restoration on a GPU, as far as it can be seen without one: no devices are mixed, and nothing stops it midway."""

import copy

import pytest
import torch

from seedvr2.models.codec import LatentCodec
from seedvr2.models.vae.inference import InferenceVAE, fastest
from seedvr2.restore.generation import Guidance
from seedvr2.restore.shot import ShotRestorer
from tests.pretended import pretended_gpu


class Faultless(dict):
    """Ways of convolution of which none fails when it is tested: only then one is set and not to be kept."""

    def __setitem__(self, kind: str, way: str) -> None:
        raise AssertionError(kind)


@pytest.mark.parametrize(
    ("family", "dtype", "vae", "color_fix"),
    [
        ("3b", "bfloat16", "fast", "wavelet"),
        ("7b", "float32", "plain", "adain"),
        ("3b", "float16", "plain", "grey"),
    ],
)
def test_a_shot_passes_through_a_gpu_without_stopping_it(
    family, dtype, vae, color_fix, make_generator, codec, prompt, clip, monkeypatch
):
    dtype = getattr(torch, dtype)
    coder, ways = copy.deepcopy(codec.vae), Faultless()
    coder = InferenceVAE(coder, ways=ways) if vae == "fast" else coder
    generator, coder = make_generator(family).to(dtype), coder.to(dtype)
    monkeypatch.setattr(fastest, "_TESTS", 1)
    with pretended_gpu() as gpu:
        restorer = ShotRestorer(
            gpu.hold(generator.requires_grad_(False)),
            LatentCodec(gpu.hold(coder)),
            prompt=prompt,
            window=2,
            steps=1,
            guidance=Guidance(prompt[:2], 2.0, 0.5),
            condition_noise=0.1,
            color_fix=color_fix,
            device="cuda",
            dtype=dtype,
        )
        assert len(list(restorer.restore(clip[:9]))) == 9
        assert gpu.stops  # tables of windows and tests of convolutions, once for a shape
        assert bool(ways) == (vae == "fast")
        gpu.stops.clear()
        assert len(list(restorer.restore(clip[:9]))) == 9
        assert gpu.stops == []
