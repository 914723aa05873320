"""Perceptual distance, patch discriminator, and the weight that balances them."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seedvr2.errors import UserError
from seedvr2.losses.reconstruction import LpipsDistance, PatchCritic, RandomConvDistance, adaptive_weight


def picture(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_distance_vanishes_for_equal_pictures_and_grows_with_blur():
    distance, sharp = RandomConvDistance(), picture()
    blurred = [F.avg_pool2d(sharp, size, stride=1, padding=size // 2, count_include_pad=False) for size in (1, 3, 5, 9)]
    values = [float(distance(blur, sharp)) for blur in blurred]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[1] > 0.05


def test_distance_depends_on_its_seed_and_not_on_the_global_generator():
    a, b = picture(1), picture(2)
    torch.manual_seed(1)
    first = RandomConvDistance()(a, b)
    torch.manual_seed(2)
    assert torch.equal(RandomConvDistance()(a, b), first)
    assert not torch.equal(RandomConvDistance(seed=1)(a, b), first)


def test_distance_sees_detail_and_not_brightness():
    distance, flat = RandomConvDistance(), torch.zeros(1, 3, 32, 32)
    inner = distance.weight0.sum(dim=(1, 2, 3))
    assert inner.abs().max() < 1e-5
    ripple = 0.2 * torch.cos(torch.arange(32) * 3.0).expand(1, 3, 32, 32)
    assert distance(ripple, flat) > 4 * distance(flat + 0.1, flat)


def test_distance_has_no_trainable_part_and_passes_gradients():
    distance, made = RandomConvDistance(), picture(1).requires_grad_()
    assert list(distance.parameters()) == []
    distance(made, picture(2)).backward()
    assert made.grad.abs().sum() > 0


@pytest.mark.parametrize("frames", [1, 5])
def test_critic_scores_patches_of_clips_and_of_images(frames):
    critic = PatchCritic(width=4, levels=2)
    assert critic(torch.zeros(2, 3, frames, 32, 48)).shape == (2, 1, frames, 8, 12)


def test_every_layer_of_the_critic_is_spectrally_normalised():
    critic = PatchCritic(width=4, levels=2)
    for _ in range(30):  # power iterations
        critic(torch.zeros(1, 3, 1, 16, 16))
    critic.eval()
    for layer in (*critic.layers, critic.score):
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, rel=0.02)


def test_adaptive_weight_balances_the_gradient_norms_at_the_last_layer():
    layer = nn.Linear(4, 4)
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    out = layer(x)
    reconstruction, adversarial = out.square().mean(), 0.03 * out.sum()
    weight = adaptive_weight(reconstruction, adversarial, layer.weight)
    losses = (reconstruction, weight * adversarial)
    norms = [torch.autograd.grad(loss, layer.weight, retain_graph=True)[0].norm() for loss in losses]
    assert norms[1].item() == pytest.approx(norms[0].item(), rel=1e-3)
    assert not weight.requires_grad


def test_adaptive_weight_is_bounded_when_the_adversarial_gradient_vanishes():
    layer = nn.Linear(4, 4)
    out = layer(torch.ones(1, 4))
    assert adaptive_weight(1e9 * out.sum(), 0 * out.sum(), layer.weight).item() == 1e4


def test_lpips_is_loaded_at_first_use_and_says_what_it_lacks(monkeypatch):
    distance = LpipsDistance()
    monkeypatch.setitem(sys.modules, "lpips", None)
    frames = torch.zeros(1, 3, 32, 32)
    with pytest.raises(UserError, match=r"seedvr2\[metrics\]"):
        distance(frames, frames)
