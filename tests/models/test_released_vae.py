import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from seedvr2.errors import UserError
from seedvr2.models.released_vae import vae_from_released
from seedvr2.models.vae.autoencoder import Posterior

GOLDEN = Path(__file__).parents[1] / "assets" / "vae_small.safetensors"
TOLERANCE = {"atol": 2e-5, "rtol": 0}


@pytest.fixture(scope="module")
def golden() -> dict:
    tensors = load_file(GOLDEN)
    with safe_open(GOLDEN, "pt") as file:
        config = json.loads(file.metadata()["config"])
    weights = {name.removeprefix("sd."): tensor for name, tensor in tensors.items() if name.startswith("sd.")}
    return {"config": config, "weights": weights, "tensors": tensors}


@pytest.fixture(scope="module")
def vae(golden):
    return vae_from_released(golden["config"], golden["weights"]).requires_grad_(False)


@pytest.mark.parametrize("case", ["video9", "clip5", "image"])
def test_moments_equal_the_released_implementation(vae, golden, case):
    posterior = vae.encode(golden["tensors"][f"{case}.input"].float())
    torch.testing.assert_close(posterior.mean, golden["tensors"][f"{case}.mean"], **TOLERANCE)
    torch.testing.assert_close(posterior.logvar, golden["tensors"][f"{case}.logvar"], **TOLERANCE)


@pytest.mark.parametrize("case", ["video9", "clip5", "image"])
def test_samples_equal_the_released_implementation(golden, case):
    posterior = Posterior(golden["tensors"][f"{case}.mean"], golden["tensors"][f"{case}.logvar"])
    sample = posterior.sample(golden["tensors"][f"{case}.noise"])
    torch.testing.assert_close(sample, golden["tensors"][f"{case}.z_sample"], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("latent", "frames"),
    [
        ("video9.mean", "video9.decoded"),
        ("clip5.mean", "clip5.decoded"),
        ("clip5.z_sample", "clip5.decoded_from_z_sample"),
        ("image.mean", "image.decoded"),
        ("image.z_sample", "image.decoded_from_z_sample"),
    ],
)
def test_frames_equal_the_released_implementation(vae, golden, latent, frames):
    torch.testing.assert_close(vae.decode(golden["tensors"][latent]), golden["tensors"][frames], **TOLERANCE)


def test_weights_are_float32_copies(golden, vae):
    assert {weight.dtype for weight in vae.parameters()} == {torch.float32}
    weights = {name: weight.float() for name, weight in golden["weights"].items()}
    copy = vae_from_released(golden["config"], weights)
    with torch.no_grad():
        copy.encoder.conv_in.weight.zero_()
    assert weights["encoder.conv_in.weight"].any()


def test_released_configuration_is_understood():
    config = json.loads((GOLDEN.parent / "keys_vae.json").read_text())
    weights = {name: torch.empty(shape, device="meta") for name, shape in config["shapes"].items()}
    assert sum(weight.numel() for weight in vae_from_released(config["config"], weights).parameters()) == 250_648_227


def test_the_whole_released_configuration_is_as_good_as_its_model_part(golden):
    whole = {"model": golden["config"], "scaling_factor": 0.9152, "dtype": "bfloat16"}
    assert vae_from_released(whole, golden["weights"]).latent_channels == 16


def test_all_wrong_weights_are_named_in_one_error(golden):
    weights = dict(golden["weights"])
    del weights["decoder.conv_out.bias"]
    weights["quant_conv.weight"] = torch.zeros(1)
    weights["encoder.conv_in.bias"] = torch.zeros(3)
    with pytest.raises(UserError) as error:
        vae_from_released(golden["config"], weights)
    message = str(error.value)
    assert "1 missing (decoder.conv_out.bias)" in message
    assert "1 unexpected (quant_conv.weight)" in message
    assert "encoder.conv_in.bias is (3,) instead of (16,)" in message


def test_weights_of_another_network_are_one_short_sentence(golden):
    with pytest.raises(UserError, match=r"and \d+ more") as error:
        vae_from_released(golden["config"], {"blocks.0.weight": torch.zeros(1)})
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"use_quant_conv": True}, "use_quant_conv = True"),
        ({"act_fn": "gelu"}, "act_fn = 'gelu'"),
        ({"temporal_scale_num": 3}, "temporal_scale_num = 3"),
        ({"layers_per_block": "two"}, "layers_per_block = 'two'"),
        ({"block_out_channels": 128}, "block_out_channels = 128"),
        ({"attention_heads": 4}, "attention_heads"),
    ],
)
def test_unsupported_configuration_is_named(golden, changes, named):
    with pytest.raises(UserError) as error:
        vae_from_released(golden["config"] | changes, golden["weights"])
    assert named in str(error.value)


def test_incomplete_configuration_is_named(golden):
    config = {key: value for key, value in golden["config"].items() if key != "norm_num_groups"}
    with pytest.raises(UserError, match="norm_num_groups"):
        vae_from_released(config, golden["weights"])


@pytest.mark.parametrize("field", ["inflation_mode", "slicing_sample_min_size", "freeze_encoder"])
def test_fields_without_effect_are_accepted(golden, field):
    assert vae_from_released(golden["config"] | {field: None}, golden["weights"])
