"""Flow matching: its target, its timesteps, and that it learns."""

import functools

import pytest
import torch

from seedvr2.flow.path import noised
from seedvr2.flow.timesteps import logit_normal, shift_by_resolution
from seedvr2.losses.weighing import pixel_weights
from seedvr2.objectives import flow_matching
from seedvr2.objectives.flow_matching import FlowMatching
from seedvr2.objectives.restoration import ConditionNoise, PromptOdds


@pytest.fixture
def make(recorder, fields, prompts):
    def make(**changes):
        settings = {
            "build": recorder,
            "weights": recorder,
            "iterations": 100,
            "generator": fields(),
            "prompts": prompts,
            "optim": functools.partial(torch.optim.AdamW, lr=1e-2),
        }
        return FlowMatching(**{**settings, **changes})

    return make


def test_loss_is_the_error_of_noise_minus_clean(make, make_batch):
    objective, batch = make(), make_batch()
    loss, _ = objective.loss(batch)
    vid, _, sizes, _, _ = objective.generator.calls[0]
    with torch.no_grad():
        predicted = objective.generator(*objective.generator.calls[0])
    target = torch.cat([(n - x).flatten(0, 2) for n, x in zip(batch.normal("noise"), batch.hq, strict=True)])
    assert loss.item() == pytest.approx((predicted - target).square().mean().item(), rel=1e-5)
    assert sizes == batch.sizes
    assert (vid[:, 32] == 1).all()


def test_errors_count_as_the_decoder_shows_them(make, make_batch, vae):
    objective, batch = make(weighed_by=vae), make_batch()
    weights = pixel_weights(vae().decode, 16, scale=1.0)
    loss, _ = objective.loss(batch)
    with torch.no_grad():
        predicted = objective.generator(*objective.generator.calls[0])
    target = torch.cat([(n - x).flatten(0, 2) for n, x in zip(batch.normal("noise"), batch.hq, strict=True)])
    assert loss.item() == pytest.approx(((predicted - target) * weights).square().mean().item(), rel=1e-5)
    assert weights[0] > 2 * weights[1:].max()


@pytest.mark.parametrize("far", [0.3, 3.0])
def test_relative_errors_say_how_much_nearer_than_the_input_a_result_is(make, make_batch, monkeypatch, vae, far):
    objective, batch = make(relative=True, weighed_by=vae), make_batch()
    # The clips are damaged by very different amounts, and restored by the same share.
    damaged = [
        hq + far ** (1 + number) * (lq - hq) for number, (hq, lq) in enumerate(zip(batch.hq, batch.lq, strict=True))
    ]
    batch = batch._replace(lq=damaged)
    for share in (0.0, 0.5, 1.0):
        made = [lq + share * (hq - lq) for hq, lq in zip(batch.hq, batch.lq, strict=True)]
        answer = [noise - clip for noise, clip in zip(batch.normal("noise"), made, strict=True)]
        monkeypatch.setattr(flow_matching, "velocities", lambda *_, answer=answer: answer)
        assert objective.loss(batch)[0].item() == pytest.approx((1 - share) ** 2, abs=0.08)


def test_samples_lie_on_the_path_at_the_timestep_the_network_is_told(make, make_batch):
    objective, batch = make(loc=0.3, scale=0.7), make_batch()
    objective.loss(batch)
    vid, _, _, _, when = objective.generator.calls[0]
    expected = []
    for hq, noise, draws, t in zip(batch.hq, batch.normal("noise"), batch.draws, when, strict=True):
        drawn = logit_normal(draws.normal("t", torch.zeros(())), loc=0.3, scale=0.7)
        torch.testing.assert_close(t, shift_by_resolution(drawn, tuple(hq.shape[:3])))
        expected.append(noised(hq, noise, t).flatten(0, 2))
    torch.testing.assert_close(vid[:, :16], torch.cat(expected))


def test_prompt_odds_decide_which_prompt_learns(make, make_batch):
    objective = make(prompt_odds=PromptOdds(0.0, 1.0))
    objective.loss(make_batch())[0].backward()
    assert objective.prompts.null.grad.abs().sum() > 0
    assert objective.prompts.positive.grad is None


def test_loss_falls_on_a_fixed_batch(make, make_batch):
    objective, batch = make(condition_noise=ConditionNoise(limit=0.0)), make_batch()
    losses = [objective.step([batch])["loss"].item() for _ in range(60)]
    assert losses[-1] < 0.7 * losses[0]
    assert objective.student.step == 60


def test_a_real_generator_learns_too(make, make_batch, make_generator):
    objective = make(generator=lambda: make_generator("3b"), ema=0.9)
    losses = [objective.step([make_batch()])["loss"].item() for _ in range(20)]
    assert losses[-1] < 0.8 * losses[0]


def test_the_same_batch_gives_the_same_step_whatever_came_before(make, make_batch):
    first, second = make(), make()
    torch.manual_seed(1)
    a = first.step([make_batch()])
    torch.manual_seed(2)
    b = second.step([make_batch()])
    assert a["loss"].item() == b["loss"].item()
    weights = [objective.generator.parameters() for objective in (first, second)]
    assert all(torch.equal(x, y) for x, y in zip(*weights, strict=True))
    assert make().step([make_batch("b")])["loss"].item() != a["loss"].item()


def test_preview_takes_its_steps_from_noise_down_with_the_plain_positive_prompt(make, make_batch):
    objective, batch = make(preview_steps=4), make_batch()
    with torch.no_grad():
        made = objective.preview(batch)
    assert [clip.shape for clip in made] == [clip.shape for clip in batch.hq]
    calls = objective.generator.calls
    assert [call[4][0].item() for call in calls] == [1000, 750, 500, 250]
    assert torch.equal(calls[0][0][:, 16:32], torch.cat([lq.flatten(0, 2) for lq in batch.lq]))
    assert torch.equal(calls[0][1], objective.prompts("positive").repeat(2, 1))


def test_generator_and_prompts_are_exported(make):
    objective = make()
    assert {name: exported.network for name, exported in objective.export().items()} == {
        "generator": objective.generator,
        "prompts": objective.prompts,
    }
