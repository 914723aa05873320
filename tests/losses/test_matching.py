"""Losses between a fake and its real clip."""

import pytest
import torch

from seedvr2.losses.matching import Comparison, feature_matching, l1, mse


def comparison(fake, real, fake_features, real_features):
    return Comparison(fake, real, torch.zeros(1), torch.zeros(1), fake_features, real_features)


def test_all_losses_vanish_for_equal_clips():
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    pair = comparison(x, x.clone(), [x, x + 1], [x.clone(), x + 1])
    assert [float(loss(pair)) for loss in (l1, mse, feature_matching)] == [0, 0, 0]


def test_values_are_means_and_do_not_grow_with_clip_length():
    for rows in (2, 200):
        zeros = torch.zeros(rows, 16)
        pair = comparison(zeros + 2, zeros, [zeros + 1, zeros - 3, zeros], [zeros] * 3)
        assert float(l1(pair)) == pytest.approx(2)
        assert float(mse(pair)) == pytest.approx(4)
        assert float(feature_matching(pair)) == pytest.approx((1 + 3 + 0) / 3)


def test_every_tap_counts_alike_whatever_its_size():
    small, large = torch.zeros(1, 2), torch.zeros(99, 8)
    pair = comparison(torch.zeros(1), torch.zeros(1), [small + 1, large], [small, large])
    assert float(feature_matching(pair)) == pytest.approx(0.5)
