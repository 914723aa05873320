"""Encode, condition, sample and decode against the official pipeline with the same random weights."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from seedvr2.flow.condition import restoration_condition
from seedvr2.flow.sampler import euler
from seedvr2.flow.timesteps import trailing
from seedvr2.models.codec import LatentCodec
from seedvr2.models.released import vae_from_released
from seedvr2.objectives.restoration import Condition, packed_field

SMALL = {"block_out_channels": [16, 32, 32, 32], "layers_per_block": 1, "norm_num_groups": 8, "latent_channels": 16}


@pytest.fixture(scope="module")
def codec():
    tensors = load_file(Path(__file__).parents[1] / "assets" / "vae_small.safetensors")
    state = {key[3:]: value.float() for key, value in tensors.items() if key.startswith("sd.")}
    return LatentCodec(vae_from_released(SMALL, state).requires_grad_(False))


def test_latent_equals_the_official_one(golden, codec):
    case = golden("pipeline_tiny")
    noise = case["posterior_noise"][0].movedim(0, -1)
    latent = codec.encode(case["video"].transpose(0, 1), noise=noise)
    assert (latent - case["latent"]).abs().max() <= 1e-4


@pytest.mark.parametrize("run", ["steps1_cfg1.0", "steps4_cfg1.0", "steps3_cfg6.5"])
@pytest.mark.parametrize("family", ["3b", "7b"])
def test_sample_equals_the_official_one(golden, facts, golden_dit, codec, family, run):
    case, settings = golden("pipeline_tiny"), facts("pipeline_tiny")[f"{family}.{run}"]
    latents = [restoration_condition(case["latent"])]
    field = packed_field(
        golden_dit(family),
        Condition(latents, [case["txt_pos"]]),
        Condition(latents, [case["txt_neg"]]),
        settings["cfg_scale"],
        settings["cfg_rescale"],
    )
    result = euler(field, case["x_T"].flatten(0, 2), trailing(settings["steps"])).unflatten(0, case["x_T"].shape[:3])
    assert (result - case[f"{family}.{run}.x_0"]).abs().max() <= 1e-4
    frames = codec.decode(result).transpose(0, 1)
    assert (frames[:, :, ::2, ::2] - case[f"{family}.{run}.sample_every_2nd_pixel"]).abs().max() <= 1e-4
