"""The discriminator: taps, heads, and that clips of a batch do not see each other."""

import functools

import pytest
import torch

from seedvr2.errors import UserError
from seedvr2.models.discriminator import Discriminator, proportional_taps


@pytest.mark.parametrize(("layers", "taps"), [(36, (16, 26, 36)), (32, (14, 23, 32)), (12, (5, 9, 12)), (4, (2, 3, 4))])
def test_taps_follow_the_depth(layers, taps):
    assert proportional_taps(layers) == taps


@pytest.fixture
def discriminator(make_trunk):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Discriminator(trunk=functools.partial(make_trunk, "3b", layers=4)).requires_grad_(False)


def test_features_are_the_video_tokens_after_the_tapped_blocks(discriminator, make_inputs):
    inputs = make_inputs([(3, 8, 12), (1, 4, 4)], [4, 3])
    outputs = []
    for number in discriminator.taps:
        block = discriminator.trunk.blocks[number - 1]
        block.register_forward_hook(lambda module, args, result: outputs.append(result[0]))
    logits, features = discriminator(*inputs)
    assert logits.shape == (2,)
    assert [tuple(feature.shape) for feature in features] == [(3 * 4 * 6 + 1 * 2 * 2, 32)] * 3
    assert all(torch.equal(a, b) for a, b in zip(features, outputs, strict=True))


def test_logits_of_a_packed_batch_equal_those_of_each_clip_alone(discriminator, make_inputs):
    vid, txt, sizes, lengths, when = make_inputs([(3, 8, 12), (1, 4, 4)], [4, 3])
    packed, _ = discriminator(vid, txt, sizes, lengths, when)
    rows = 3 * 8 * 12
    first, _ = discriminator(vid[:rows], txt[:4], sizes[:1], lengths[:1], when[:1])
    second, _ = discriminator(vid[rows:], txt[4:], sizes[1:], lengths[1:], when[1:])
    torch.testing.assert_close(packed, torch.cat([first, second]), atol=1e-5, rtol=1e-4)


def test_logit_and_its_norm_have_no_bias(discriminator):
    assert discriminator.verdict.norm.bias is None
    assert discriminator.verdict.logit.bias is None


def test_logits_stay_in_full_precision_under_autocast(discriminator, make_inputs):
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = discriminator(*make_inputs([(1, 8, 8)], [2]))
    assert logits.dtype == torch.float32


def test_with_token_logits_every_token_of_every_clip_has_one_of_its_own(make_trunk, make_inputs):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Discriminator(trunk=functools.partial(make_trunk, "3b", layers=4), logits="token")
    vid, txt, sizes, lengths, when = make_inputs([(3, 8, 12), (1, 4, 4)], [4, 3])
    logits, features = network(vid, txt, sizes, lengths, when)
    assert logits.shape == (len(features[0]),) == (3 * 4 * 6 + 1 * 2 * 2,)
    rows = 3 * 8 * 12
    second, _ = network(vid[rows:], txt[4:], sizes[1:], lengths[1:], when[1:])
    torch.testing.assert_close(logits[-4:], second, atol=1e-5, rtol=1e-4)
    (logits * torch.randn_like(logits)).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []


@pytest.mark.parametrize("taps", [(0, 1), (2, 2), (3, 1), (1, 5)])
def test_taps_outside_the_network_or_out_of_order_are_refused(make_trunk, taps):
    with pytest.raises(UserError, match="taps"):
        Discriminator(trunk=functools.partial(make_trunk, "3b", layers=4), taps=taps)


def test_every_weight_of_trunk_and_heads_can_learn(make_trunk, make_inputs):
    network = Discriminator(trunk=functools.partial(make_trunk, "3b"))
    logits, _ = network(*make_inputs([(2, 8, 8), (1, 4, 4)], [2, 3]))
    (logits[0] - 2 * logits[1]).backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert idle == []
