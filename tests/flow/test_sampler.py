"""Euler steps and guidance against the released sampler."""

import pytest
import torch

from seedvr2.flow.sampler import euler, guided
from seedvr2.flow.timesteps import trailing


@pytest.mark.parametrize("steps", [1, 2, 4, 50])
def test_trajectories_equal_the_released_sampler(facts, steps):
    golden = facts("sampler")["euler"]
    wanted, calls = golden["trajectories"][str(steps)], []

    def field(x, when):
        calls.append((when, x))
        return 0.1 * x + 0.3

    result = euler(field, torch.tensor(golden["x_init"]), trailing(steps))
    torch.testing.assert_close(result, torch.tensor(wanted["result"]), rtol=1e-6, atol=2e-7)
    assert len(calls) == wanted["num_model_calls"]
    for call in wanted["model_calls"]:
        when, x = calls[call["i"]]
        assert when == pytest.approx(call["t"], rel=1e-6)
        torch.testing.assert_close(x, torch.tensor(call["x_t"]), rtol=1e-6, atol=2e-7)


def test_one_step_is_noise_minus_velocity():
    noise = torch.randn(7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(euler(lambda x, when: x.sin(), noise, trailing(1)), noise - noise.sin())


def test_guidance_equals_the_released_one(facts):
    golden = facts("sampler")["cfg"]
    positive, negative = torch.tensor(golden["pos"]), torch.tensor(golden["neg"])
    plain = guided(positive, negative, 6.5)
    torch.testing.assert_close(plain, torch.tensor(golden["scale_6.5_rescale_0"]), rtol=1e-6, atol=0)
    rescaled = guided(positive, negative, 7.5, rescale=0.7)
    torch.testing.assert_close(rescaled, torch.tensor(golden["scale_7.5_rescale_0.7"]), rtol=1e-6, atol=1e-7)


def test_full_rescale_restores_the_spread_of_each_row():
    positive, negative = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rescaled = guided(positive, negative, 4.0, rescale=1.0)
    torch.testing.assert_close(rescaled.std(dim=-1), positive.std(dim=-1))
    torch.testing.assert_close(guided(positive, negative, 1.0, rescale=0.5), positive)
