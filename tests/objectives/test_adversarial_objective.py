"""Adversarial post-training: who gets which gradient from which term, and what the discriminator is shown."""

import functools

import pytest
import torch
import torch.nn.functional as F

from seedvr2.data.batch import Batch
from seedvr2.losses.adversarial import RpGAN
from seedvr2.losses.matching import feature_matching, l1
from seedvr2.losses.weighing import pixel_weights
from seedvr2.models.discriminator import Discriminator
from seedvr2.objectives.adversarial import AdversarialPostTraining, Term
from seedvr2.objectives.restoration import ConditionNoise
from seedvr2.optim.trainee import frozen


def filled(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The network with random weights."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return network


class Silent(RpGAN):
    """RpGAN with one player's loss switched off."""

    def __init__(self, player: str):
        self.player = player

    def generator(self, fake, real):
        return super().generator(fake, real) * (self.player != "generator")

    def discriminator(self, fake, real):
        return super().discriminator(fake, real) * (self.player != "discriminator")


@pytest.fixture
def make(recorder, fields, judges, prompts):
    def make(**changes):
        settings = {
            "build": recorder,
            "weights": recorder,
            "iterations": 100,
            "generator": fields(1),
            "discriminator": judges(2),
            "prompts": prompts,
            "gan": RpGAN(),
            "optim": functools.partial(torch.optim.AdamW, lr=1e-2, betas=(0.0, 0.99)),
            "terms": {"l1": Term(l1), "features": Term(feature_matching)},
        }
        return AdversarialPostTraining(**{**settings, **changes})

    return make


def gradients(objective, batch) -> dict[str, torch.Tensor]:
    """All gradients of each player from its own loss, in one row."""
    objective.discriminator_loss(batch)[0].backward()
    with frozen(objective.discriminator):
        objective.generator_loss(batch)[0].backward()
    return {
        name: torch.cat([p.grad.flatten() for p in network.parameters()])
        for name, network in (("generator", objective.generator), ("discriminator", objective.discriminator))
    }


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"gan": Silent("generator")}, {"generator"}),
        ({"gan": Silent("discriminator")}, {"discriminator"}),
        ({"terms": {"l1": Term(l1, 0.0), "features": Term(feature_matching)}}, {"generator"}),
        ({"terms": {"l1": Term(l1), "features": Term(feature_matching, 0.0)}}, {"generator"}),
        ({"r1": 0.0}, {"discriminator"}),
        ({"r2": 0.0}, {"discriminator"}),
        ({"normalize_by_sigma": True}, {"discriminator"}),
        ({"sigma": 0.2}, {"discriminator"}),
        ({"timestep_shift": 5.0}, {"generator", "discriminator"}),
    ],
    ids=lambda value: "+".join(sorted(value)),
)
def test_every_weight_moves_the_right_player_and_only_it(make, make_batch, change, moved):
    usual, changed = gradients(make(), make_batch()), gradients(make(**change), make_batch())
    assert {name for name in usual if not torch.equal(usual[name], changed[name])} == moved


def test_a_term_without_weight_is_as_good_as_absent(make, make_batch):
    with_zero = gradients(make(terms={"l1": Term(l1, 0.0)}), make_batch())["generator"]
    torch.testing.assert_close(with_zero, gradients(make(terms={}), make_batch())["generator"])
    torch.testing.assert_close(with_zero, gradients(make(terms={"l1": None}), make_batch())["generator"])


def test_terms_compare_latents_as_the_decoder_shows_them(make, make_batch, vae):
    seen = []
    for weighed_by in (None, vae):
        terms = {"l1": Term(lambda pair: seen.append(pair) or l1(pair))}
        objective, batch = make(terms=terms, weighed_by=weighed_by), make_batch()
        objective.generator_loss(batch)
    for plain, weighed in zip(seen[0][:2], seen[1][:2], strict=True):
        torch.testing.assert_close(weighed, plain * pixel_weights(vae().decode, 16, scale=1.0))


def test_no_player_gets_gradients_from_the_other_ones_step(make, make_batch):
    objective, batch = make(), make_batch()
    objective.discriminator_loss(batch)[0].backward()
    assert all(p.grad is None for p in objective.generator.parameters())
    of_critic = [p.grad.clone() for p in objective.discriminator.parameters()]
    with frozen(objective.discriminator):
        objective.generator_loss(batch)[0].backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(of_critic, objective.discriminator.parameters(), strict=True))
    assert all(p.grad.abs().sum() > 0 for p in objective.generator.parameters())
    assert all(p.grad is None for p in objective.prompts.parameters())


def test_generator_gradient_through_the_discriminator_equals_the_written_out_one(make, make_batch, fields, judges):
    objective, batch = make(prompt_odds=None, condition_noise=ConditionNoise(limit=0.0)), make_batch(count=1)
    ours = gradients(objective, batch)["generator"]
    _, txt, sizes, lengths, when = objective.discriminator.calls[-1]
    network, judge, z = fields(1)(), judges(2)(), batch.normal("g/noise")[0].flatten(0, 2)
    lq = torch.cat([batch.lq[0].flatten(0, 2), torch.ones(len(z), 1)], dim=1)
    real = batch.hq[0].flatten(0, 2)
    made = z - network(torch.cat([z, lq], 1), txt, sizes, lengths, torch.tensor([1000.0]))
    f, fake_taps = judge(torch.cat([made, lq], 1), txt, sizes, lengths, when)
    r, real_taps = judge(torch.cat([real, lq], 1), txt, sizes, lengths, when)
    loss = F.softplus(-(f - r.detach())).mean() + (made - real).abs().mean()
    loss = loss + sum((a - b.detach()).abs().mean() for a, b in zip(fake_taps, real_taps, strict=True)) / 2
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(network.parameters()))])
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-4)


def test_the_four_passes_share_text_condition_and_timestep(make, make_batch):
    objective, batch = make(), make_batch(count=3)
    objective.discriminator_loss(batch)
    (call,) = objective.discriminator.calls
    vid, txt, sizes, _, when = call
    groups = vid.chunk(4)
    assert all(torch.equal(group[:, 16:], groups[0][:, 16:]) for group in groups)
    assert all(torch.equal(part, txt.chunk(4)[0]) for part in txt.chunk(4))
    assert all(torch.equal(part, when[:3]) for part in when.chunk(4))
    assert sizes == batch.sizes * 4
    assert len(set(when[:3].tolist())) == 3
    real, fake, near_real, near_fake = (group[:, :16] for group in groups)
    assert torch.equal(real, torch.cat([clip.flatten(0, 2) for clip in batch.hq]))
    for near, clip, purpose in ((near_real, real, "d/r1"), (near_fake, fake, "d/r2")):
        noise = torch.cat([draw.flatten(0, 2) for draw in batch.normal(purpose)])
        torch.testing.assert_close(near - clip, 0.1 * noise, atol=1e-6, rtol=1e-4)


def test_losses_are_those_of_the_paper(make, make_batch):
    objective, batch = make(r1=700.0, r2=300.0, sigma=0.05), make_batch()
    loss, logs = objective.discriminator_loss(batch)
    with torch.no_grad():
        real, fake, near_real, near_fake = objective.discriminator(*objective.discriminator.calls[0])[0].chunk(4)
    gan, r1, r2 = F.softplus(fake - real).mean(), (real - near_real).square().mean(), (fake - near_fake).square().mean()
    assert loss.item() == pytest.approx((gan + 700 * r1 + 300 * r2).item(), rel=1e-5)
    assert logs["r1_slope"].item() == pytest.approx(r1.item() / 0.05**2, rel=1e-5)
    assert logs["margin"].item() == pytest.approx((real - fake).mean().item(), rel=1e-4, abs=1e-6)


def test_generator_runs_at_the_last_timestep_and_fakes_change_with_noise_only(make, make_batch):
    objective, seen = make(prompt_odds=None, condition_noise=ConditionNoise(limit=0.0)), {}
    for key in ("a", "b"):
        objective.discriminator_loss(make_batch(key))
        vid = objective.discriminator.calls[-1][0]
        seen[key] = vid.chunk(4)
    assert torch.equal(seen["a"][0], seen["b"][0])
    assert not torch.equal(seen["a"][1], seen["b"][1])
    assert {t for call in objective.generator.calls for t in call[4].tolist()} == {1000.0}


def test_each_player_may_have_an_optimizer_of_its_own(make):
    other = functools.partial(torch.optim.RMSprop, lr=0.5)
    assert isinstance(make(discriminator_optim=other).critic.optimizer, torch.optim.RMSprop)
    assert make(discriminator_optim=other).student.rates == make().critic.rates == [1e-2]


def test_each_player_draws_its_own_noise(make, make_batch):
    objective = make()
    objective.step([make_batch()])
    d, g = objective.generator.calls
    assert not torch.equal(d[0][:, :16], g[0][:, :16])


def test_pulls_are_the_gradients_that_the_generator_loss_has_at_each_clip(make, make_batch):
    terms = {"l1": Term(l1, 0.1), "features": Term(feature_matching, 0.3)}
    objective, batch = make(terms=terms), equal_clips(make_batch)
    alone = {"gan": {}, **{name: {name: term} for name, term in terms.items()}}
    norms = {}
    for name, own in alone.items():
        seen, single = [], make(terms=own, **({"gan": Silent("generator")} if name != "gan" else {}))
        generate = single.generate
        single.generate = lambda *args, f=generate, seen=seen: seen.extend(kept(f(*args))) or seen
        with frozen(single.discriminator):
            single.generator_loss(batch)[0].backward()
        norms[name] = torch.stack([len(seen) * clip.grad.norm() for clip in seen])
    found = objective.diagnose([batch])
    for name, norm in norms.items():
        assert found[f"fake_grad_norm/{name}"].item() == pytest.approx(norm.mean().item(), rel=1e-4)
    share = (norms["gan"] / sum(norms.values())).mean()
    assert found["fake_grad_norm/gan_share"].item() == pytest.approx(share.item(), rel=1e-4)


def test_pulls_do_not_depend_on_how_clips_are_batched_and_train_nothing(make, make_batch):
    objective, batch = make(), equal_clips(make_batch)
    parts = [Batch(batch.hq[i : i + 1], batch.lq[i : i + 1], batch.draws[i : i + 1]) for i in range(2)]
    together, apart = objective.diagnose([batch]), objective.diagnose(parts)
    assert {name: value.item() for name, value in together.items()} == pytest.approx(
        {name: value.item() for name, value in apart.items()}, rel=1e-4
    )
    parameters = [*objective.generator.parameters(), *objective.discriminator.parameters()]
    assert all(parameter.grad is None and parameter.requires_grad for parameter in parameters)
    changed, untouched = objective.step([batch]), make().step([batch])
    assert {k: v.item() for k, v in changed.items()} == {k: v.item() for k, v in untouched.items()}


def test_margin_of_validation_is_the_gap_that_the_discriminator_sees(make, make_batch):
    objective, batch = make(), make_batch()
    with torch.no_grad():
        worse = objective.validate(batch, [torch.zeros_like(clip) for clip in batch.hq])
        assert objective.validate(batch, batch.hq)["margin"] == 0
        swapped = batch._replace(hq=[torch.zeros_like(clip) for clip in batch.hq])
        assert objective.validate(swapped, batch.hq)["margin"].item() == pytest.approx(-worse["margin"].item())
    assert worse["margin"] != 0


def equal_clips(make_batch) -> Batch:
    """A batch whose clips have one size."""
    batch = make_batch()
    hq, lq = ([clip[:1, :2, :2].contiguous() for clip in side] for side in (batch.hq, batch.lq))
    return batch._replace(hq=hq, lq=lq)


def kept(clips: list[torch.Tensor]) -> list[torch.Tensor]:
    """The clips, which will keep their gradients."""
    for clip in clips:
        clip.retain_grad()
    return clips


def test_the_same_batch_gives_the_same_step_whatever_came_before(make, make_batch):
    first, second = make(), make()
    torch.manual_seed(1)
    a = first.step([make_batch()])
    torch.manual_seed(2)
    b = second.step([make_batch()])
    assert {key: value.item() for key, value in a.items()} == {key: value.item() for key, value in b.items()}


@pytest.mark.parametrize(("player", "loss"), [("critic", "discriminator_loss"), ("student", "generator_loss")])
def test_each_player_lowers_its_own_loss_against_a_fixed_opponent(make, make_batch, player, loss):
    objective, batch = make(r1=1.0, r2=1.0), make_batch()
    with torch.no_grad():
        before = getattr(objective, loss)(batch)[0].item()
    for _ in range(20):
        getattr(objective, player).update([batch], getattr(objective, loss))
    with torch.no_grad():
        assert getattr(objective, loss)(batch)[0].item() < 0.95 * before


def test_discriminator_starts_from_the_base_and_not_from_the_newest_generator(make, recorder):
    make(discriminator_weights="base/generator")
    assert recorder.asked == [
        ("generator",),
        ("prompts",),
        ("base/generator", "initial/discriminator", "initial/generator"),
    ]


def test_logits_per_token_of_clips_of_several_sizes_are_compared_with_their_own(make, make_batch, make_trunk):
    def discriminator():
        return filled(Discriminator(trunk=functools.partial(make_trunk, "3b"), logits="token"), 0)

    _, plain = make(discriminator=discriminator, sigma=0.0, r1=0.0, r2=0.0).discriminator_loss(make_batch())
    assert plain["r1"] < 1e-10  # a shift by one token would compare tokens with others
    assert plain["r2"] < 1e-10
    _, shaken = make(discriminator=discriminator).discriminator_loss(make_batch())
    assert min(shaken["r1"], shaken["r2"], abs(shaken["margin"])) > 1e-6


@pytest.mark.parametrize("logits", ["clip", "token"])
def test_real_networks_take_a_step(make, make_batch, make_generator, make_trunk, logits):
    objective = make(
        generator=lambda: make_generator("3b"),
        discriminator=lambda: Discriminator(trunk=functools.partial(make_trunk, "3b"), logits=logits),
        ema=0.9,
    )
    before = [p.clone() for p in (*objective.generator.parameters(), *objective.discriminator.parameters())]
    logs = objective.step([make_batch(), make_batch("b")])
    after = [*objective.generator.parameters(), *objective.discriminator.parameters()]
    assert all(torch.isfinite(value) for value in logs.values())
    assert sum(torch.equal(a, b) for a, b in zip(before, after, strict=True)) == 0
    assert set(objective.export()) == {"generator", "discriminator", "prompts"}
    with objective.averaged(), torch.no_grad():
        assert [clip.shape for clip in objective.preview(make_batch())] == [clip.shape for clip in make_batch().hq]
