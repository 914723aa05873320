"""The straight path against the released schedule and its velocity conversions."""

import pytest
import torch

from seedvr2.flow.path import TOTAL, clean_estimate, euler_step, noise_estimate, noised, velocity


def test_schedule_equals_the_released_coefficients(facts):
    schedule = facts("sampler")["schedule"]
    when = torch.tensor(schedule["t"], dtype=torch.float64)
    assert schedule["T"] == TOTAL
    for clean, noise, name in ((1.0, 0.0, "A"), (0.0, 1.0, "B")):
        ours = noised(torch.full_like(when, clean), torch.full_like(when, noise), when)
        # the released values are rounded to fp32: absolute where a coefficient is the small rest of 1 - t
        torch.testing.assert_close(ours, torch.tensor(schedule[name], dtype=torch.float64), rtol=1e-6, atol=1e-7)


def test_conversions_equal_the_released_ones(facts):
    golden = {key: torch.tensor(value) for key, value in facts("sampler")["v_lerp"].items()}
    x = noised(golden["x_0"], golden["x_T"], golden["t"])
    torch.testing.assert_close(x, golden["forward_x_t"], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(velocity(golden["x_0"], golden["x_T"]), golden["convert_to_pred_v"], rtol=1e-6, atol=0)
    estimates = [estimate(x, golden["pred_used"], golden["t"]) for estimate in (clean_estimate, noise_estimate)]
    torch.testing.assert_close(estimates[0], golden["convert_from_pred_x_0"], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(estimates[1], golden["convert_from_pred_x_T"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("when", [0.0, 1.0, 312.5, 999.0, 1000.0])
def test_the_true_velocity_leads_back_to_data_and_noise(when):
    clean, noise = torch.randn(2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, field = noised(clean, noise, when), velocity(clean, noise)
    torch.testing.assert_close(clean_estimate(x, field, when), clean)
    torch.testing.assert_close(noise_estimate(x, field, when), noise)
    torch.testing.assert_close(euler_step(x, field, when, 250.0), noised(clean, noise, 250.0))


def test_the_ends_of_the_path_are_exact():
    clean, noise = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(noised(clean, noise, 0.0), clean)
    assert torch.equal(noised(clean, noise, TOTAL), noise)
