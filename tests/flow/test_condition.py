"""Layout and noise of the condition against the released functions."""

import pytest
import torch

from seedvr2.flow.condition import pack, restoration_condition, restoration_input, unpack
from seedvr2.flow.path import noised
from seedvr2.flow.timesteps import condition_timestep, shift_by_resolution


def test_mask_of_ones_follows_the_latent_as_released(facts):
    golden = facts("sampler")["get_condition_sr"]
    assert restoration_condition(torch.tensor(golden["latent_blur"])).tolist() == golden["result"]


def test_condition_noise_equals_the_released_one(facts):
    for case in facts("sampler")["cond_noise_aug"]["cases"]:
        shapes = {"t_if_shape_were_thw": case["latent_shape_thwc"][:3], "t_official": case["shape_passed_by_official"]}
        for key, shape in shapes.items():
            assert shift_by_resolution(case["t_before"], tuple(shape)) == pytest.approx(case[key], rel=1e-6, abs=1e-6)
        whole = condition_timestep(case["cond_noise_scale"], tuple(case["latent_shape_thwc"]))
        assert whole == pytest.approx(case["t_official"], rel=1e-6, abs=1e-6)
        ours = noised(torch.tensor(case["x_first5"]), torch.tensor(case["noise_first5"]), case["t_official"])
        torch.testing.assert_close(ours, torch.tensor(case["result_official_first5"]), rtol=1e-6, atol=2e-7)


def test_network_input_is_sample_then_latent_then_mask():
    sizes = [(1, 2, 2), (2, 2, 4)]
    samples, latents = ([torch.full((*size, 16), value + i) for i, size in enumerate(sizes)] for value in (0.0, 5.0))
    rows = restoration_input(samples, [restoration_condition(latent) for latent in latents])
    assert rows.shape == (4 + 16, 33)
    assert rows[3].tolist() == [0.0] * 16 + [5.0] * 16 + [1.0]
    assert rows[4].tolist() == [1.0] * 16 + [6.0] * 16 + [1.0]


def test_unpacking_undoes_packing_in_t_h_w_order():
    generator = torch.Generator().manual_seed(0)
    clips = [torch.randn(*size, 3, generator=generator) for size in ((1, 2, 3), (4, 2, 2))]
    rows = pack(clips)
    assert torch.equal(rows[5], clips[0][0, 1, 2])
    back = unpack(rows, [tuple(clip.shape[:3]) for clip in clips])
    assert all(torch.equal(a, b) for a, b in zip(clips, back, strict=True))
