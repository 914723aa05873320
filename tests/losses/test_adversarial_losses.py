"""Adversarial losses at known logits, and the approximated gradient penalty against the exact one."""

import math

import pytest
import torch
from torch import nn

from seedvr2.losses.adversarial import Hinge, NonSaturating, RpGAN, perturbation_penalty, perturbed

LOSSES = [RpGAN(), NonSaturating(), Hinge()]


def test_relativistic_loss_is_the_same_for_both_players_after_a_swap():
    fake, real = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(RpGAN().generator(fake, real), RpGAN().discriminator(real, fake))
    torch.testing.assert_close(RpGAN().discriminator(fake + 3, real + 3), RpGAN().discriminator(fake, real))


def test_relativistic_loss_compares_the_clips_of_one_pair():
    fake, real = torch.tensor([0.0, 10.0]), torch.tensor([1.0, 11.0])
    expected = math.log1p(math.exp(-1.0))
    assert RpGAN().discriminator(fake, real).item() == pytest.approx(expected)
    assert RpGAN().discriminator(fake.flip(0), real).item() > 4


@pytest.mark.parametrize(
    ("loss", "fake", "real", "generator", "discriminator"),
    [
        (RpGAN(), 0.0, 0.0, math.log(2), math.log(2)),
        (RpGAN(), -1.0, 1.0, math.log1p(math.exp(2)), math.log1p(math.exp(-2))),
        (NonSaturating(), 0.0, 0.0, math.log(2), 2 * math.log(2)),
        (NonSaturating(), -1.0, 2.0, math.log1p(math.e), math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))),
        (Hinge(), 0.0, 0.0, 0.0, 2.0),
        (Hinge(), -0.5, 0.25, 0.5, 0.75 + 0.5),
        (Hinge(), -3.0, 3.0, 3.0, 0.0),
    ],
)
def test_values_at_known_logits(loss, fake, real, generator, discriminator):
    fake, real = torch.tensor([fake, fake]), torch.tensor([real, real])
    assert loss.generator(fake, real).item() == pytest.approx(generator, abs=1e-6)
    assert loss.discriminator(fake, real).item() == pytest.approx(discriminator, abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_generator_raises_fake_logits_and_discriminator_separates(loss):
    fake = torch.tensor([-0.5, 0.0, 0.5], requires_grad=True)
    real = torch.tensor([0.5, 0.0, -0.5], requires_grad=True)
    assert (torch.autograd.grad(loss.generator(fake, real.detach()), fake)[0] < 0).all()
    of_fake, of_real = torch.autograd.grad(loss.discriminator(fake, real), (fake, real))
    assert (of_fake > 0).all()
    assert (of_real < 0).all()


def test_penalty_over_sigma_squared_is_the_squared_gradient_norm():
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Linear(12, 32), nn.SiLU(), nn.Linear(32, 1)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 3)
    x = torch.randn(1, 12, generator=generator, dtype=torch.float64, requires_grad=True)
    exact = torch.autograd.grad(network(x).sum(), x)[0].square().sum()
    draws, sigma = 32768, 0.01
    clips = [x.detach().expand(draws, -1)]
    noise = [torch.randn(draws, 12, generator=generator, dtype=torch.float64)]
    with torch.no_grad():
        near = network(perturbed(clips, noise, sigma)[0]).squeeze(1)
        estimate = perturbation_penalty(network(clips[0]).squeeze(1), near) / sigma**2
    assert estimate.item() == pytest.approx(exact.item(), rel=0.05)


def test_perturbation_has_the_given_deviation_and_does_not_touch_the_clips():
    clip, noise = torch.zeros(3, 2, 2, 16), torch.randn(3, 2, 2, 16, generator=torch.Generator().manual_seed(0))
    near = perturbed([clip], [noise], 0.1)[0]
    assert torch.equal(near, 0.1 * noise)
    assert clip.abs().sum() == 0
