"""Guidance and noise of the generator's part."""

import pytest
import torch

from seedvr2.flow.path import noised
from seedvr2.flow.timesteps import condition_timestep
from seedvr2.restore.generation import Generation, Guidance
from seedvr2.restore.stream import latent_noise

SHAPE = (3, 4, 6, 16)


@pytest.fixture(scope="module")
def lq():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def negative():
    return torch.randn(7, 8, generator=torch.Generator().manual_seed(6))


def test_guidance_at_scale_one_is_the_positive_prompt_and_at_zero_the_negative_one(generator, prompt, negative, lq):
    plain = Generation(generator, prompt=prompt, steps=2)(lq, 4)
    away = Generation(generator, prompt=negative, steps=2)(lq, 4)
    for scale, wanted in ((1.0, plain), (0.0, away)):
        guided = Generation(generator, prompt=prompt, steps=2, guidance=Guidance(negative, scale))(lq, 4)
        assert torch.allclose(guided, wanted, atol=1e-5)
    strong = Generation(generator, prompt=prompt, steps=2, guidance=Guidance(negative, 6.5))(lq, 4)
    assert not torch.allclose(strong, plain, atol=1e-2)


def test_rescaling_changes_the_guided_result_alone(generator, prompt, negative, lq):
    results = [
        Generation(generator, prompt=prompt, guidance=Guidance(negative, 6.5, rescale))(lq, 0)
        for rescale in (0.0, 0.3, 1.0)
    ]
    assert not torch.allclose(results[0], results[1], atol=1e-3)
    assert not torch.allclose(results[1], results[2], atol=1e-3)


def test_condition_noise_is_that_of_the_latent_position(generator, prompt, lq):
    noisy = Generation(generator, prompt=prompt, seed=3, condition_noise=0.1)(lq, 5)
    noise = latent_noise(3, "condition", 5, SHAPE)
    by_hand = noised(lq, noise, condition_timestep(0.1, SHAPE))
    assert torch.equal(noisy, Generation(generator, prompt=prompt, seed=3)(by_hand, 5))
    assert not torch.allclose(noisy, Generation(generator, prompt=prompt, seed=3)(lq, 5), atol=1e-3)
    assert not torch.equal(noise, latent_noise(3, "noise", 5, SHAPE))


def test_the_released_quirk_gives_every_length_the_same_noise():
    steps = {condition_timestep(0.1, (frames, 90, 160, 16)) for frames in (1, 6, 26)}
    assert len(steps) == 1
    assert steps.pop() == pytest.approx(231.4, abs=0.2)  # 720p
