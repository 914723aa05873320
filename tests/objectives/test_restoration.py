"""Conditions: prompt odds, condition noise, and draws that depend on nothing but their key."""

import pytest
import torch

from seedvr2.data.batch import Batch
from seedvr2.errors import UserError
from seedvr2.flow.path import noised
from seedvr2.objectives.restoration import (
    Condition,
    ConditionNoise,
    PromptOdds,
    packed_field,
    plain_condition,
    training_condition,
)


def test_prompts_are_picked_with_their_odds():
    odds = PromptOdds(negative=0.05, dropout=0.10)
    picks = [odds.pick(i / 1000) for i in range(1000)]
    assert {kind: picks.count(kind) for kind in ("positive", "negative", "null")} == pytest.approx(
        {"positive": 850, "negative": 50, "null": 100}, abs=1
    )


@pytest.mark.parametrize("odds", [(-0.1, 0.0), (0.6, 0.5), (0.0, -0.2)])
def test_odds_that_are_no_shares_are_refused(odds):
    with pytest.raises(UserError, match="prompt_odds"):
        PromptOdds(*odds)


def test_condition_noise_has_a_clean_share_and_a_limit():
    noise = ConditionNoise(limit=0.25, clean_share=0.4)
    small = (1, 32, 32)  # its resolution shift is 1
    assert [noise.timestep(draw, small) for draw in (0.0, 0.2, 0.399)] == [0, 0, 0]
    assert noise.timestep(0.7, small) == pytest.approx(125)
    assert noise.timestep(1 - 1e-9, small) == pytest.approx(250)
    assert noise.timestep(0.7, (1, 90, 160)) > 125


@pytest.mark.parametrize("settings", [{"limit": 1.5}, {"limit": -0.1}, {"clean_share": 1.5}, {"milder": -1}])
def test_impossible_condition_noise_is_refused(settings):
    with pytest.raises(UserError, match="condition_noise"):
        ConditionNoise(**settings)


def test_condition_is_the_noised_latent_a_mask_and_a_prompt(make_batch, prompts):
    batch, table, noise = make_batch(), prompts(), ConditionNoise(limit=0.25)
    condition = training_condition(batch, table, PromptOdds(1.0, 0.0), noise)
    for latent, lq, draws, text in zip(condition.latents, batch.lq, batch.draws, condition.texts, strict=True):
        when = noise.timestep(draws.uniform("condition/level"), tuple(lq.shape[:3]))
        assert torch.equal(latent[..., :16], noised(lq, draws.normal("condition/noise", lq), when))
        assert (latent[..., 16] == 1).all()
        assert torch.equal(text, table("negative"))


def test_a_share_of_the_conditions_moves_some_way_to_the_clean_latents(make_batch, prompts):
    table, noise = prompts(), ConditionNoise(limit=0.0, milder=0.4)
    ways = []
    for key in map(str, range(100)):
        batch = make_batch(key)
        found = training_condition(batch, table, PromptOdds(), noise).latents
        for hq, lq, latent in zip(batch.hq, batch.lq, found, strict=True):
            moved, whole = latent[..., :16] - lq, hq - lq
            ways.append((moved * whole).sum().item() / whole.square().sum().item())
            assert torch.allclose(moved, ways[-1] * whole, atol=1e-5)
    assert sum(way > 0 for way in ways) / len(ways) == pytest.approx(0.4, abs=0.1)
    assert min(ways) == 0
    assert 0.9 < max(ways) < 1
    assert sum(ways) / sum(way > 0 for way in ways) == pytest.approx(0.5, abs=0.1)


def test_draws_of_a_clip_depend_on_its_key_only(make_batch, prompts):
    batch, table, odds = make_batch(count=3), prompts(), PromptOdds(0.3, 0.3)
    whole = training_condition(batch, table, odds, ConditionNoise())
    last = Batch(batch.hq[2:], batch.lq[2:], batch.draws[2:])
    torch.rand(7)  # the global generator has no part in it
    alone = training_condition(last, table, odds, ConditionNoise())
    assert torch.equal(alone.latents[0], whole.latents[2])
    assert torch.equal(alone.texts[0], whole.texts[2])
    other = training_condition(make_batch("b", 3), table, odds, ConditionNoise())
    assert not torch.equal(other.latents[2], whole.latents[2])
    purpose = training_condition(batch, table, odds, ConditionNoise(), "g/condition")
    assert not torch.equal(purpose.latents[2], whole.latents[2])


def test_guided_field_asks_twice_and_unguided_once(make_batch, fields, prompts):
    batch, table, network = make_batch(), prompts(), fields()()
    positive, negative = (plain_condition(batch, table(kind)) for kind in ("positive", "negative"))
    x = torch.randn(sum(h.shape[:3].numel() for h in batch.hq), 16, generator=torch.Generator().manual_seed(0))
    plain = packed_field(network, positive)(x, 500.0)
    assert len(network.calls) == 1
    against = packed_field(network, negative)(x, 500.0)
    mixed = packed_field(network, positive, negative, 3.0)(x, 500.0)
    torch.testing.assert_close(mixed, against + 3 * (plain - against))
    assert len(network.calls) == 4


def test_repeated_conditions_keep_the_order_of_clips():
    condition = Condition([torch.zeros(1, 2, 2, 17), torch.ones(2, 2, 2, 17)], [torch.zeros(1, 8), torch.ones(2, 8)])
    assert condition.repeated(2).sizes == [(1, 2, 2), (2, 2, 2)] * 2
    assert [len(text) for text in condition.repeated(2).texts] == [1, 2, 1, 2]
