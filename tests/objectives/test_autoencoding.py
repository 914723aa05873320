"""Training the VAE: what each weight moves, when the patch discriminator joins, and the latent scale."""

import functools

import pytest
import torch

from seedvr2.data.batch import Batch
from seedvr2.losses.reconstruction import PatchCritic, RandomConvDistance
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.blocks import ResBlock
from seedvr2.objectives.autoencoding import Autoencoding, Spread
from seedvr2.randomness import Draws


def seeded(recipe, seed: int):
    """The recipe with weights that depend on the seed only."""

    def build():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return recipe()

    return build


@pytest.fixture
def make(recorder):
    recorder.device = torch.device("cpu")

    def make(**changes):
        settings = {
            "build": recorder,
            "weights": recorder,
            "iterations": 10,
            "vae": seeded(functools.partial(VideoVAE, (4, 4, 4, 4), 1, groups=2), 0),
            "optim": functools.partial(torch.optim.AdamW, lr=2e-3),
            "perceptual": RandomConvDistance(width=4, levels=2),
            "critic": seeded(functools.partial(PatchCritic, width=4, levels=2), 1),
            "adversarial_start": 0.0,
            "start": "random",
        }
        return Autoencoding(**{**settings, **changes})

    return make


def clips(key: str = "a", frames: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(3)
    hq = [torch.rand(frames, 3, 16, 16, generator=generator) * 2 - 1 for _ in range(2)]
    return Batch(hq, hq, [Draws(key, number) for number in range(2)])


def gradients(objective, batch) -> dict[str, torch.Tensor]:
    """Gradients of encoder and decoder from the autoencoder's loss."""
    objective.loss(batch)[0].backward()
    return {
        name: torch.cat([p.grad.flatten() for p in part.parameters() if p.grad is not None])
        for name, part in (("encoder", objective.vae.encoder), ("decoder", objective.vae.decoder))
    }


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"kl": 1.0}, {"encoder"}),
        ({"perceptual_weight": 0.1}, {"encoder", "decoder"}),
        ({"adversarial_weight": 0.1}, {"encoder", "decoder"}),
        ({"adversarial_start": 1.0}, {"encoder", "decoder"}),
    ],
    ids=lambda value: "+".join(sorted(value)),
)
def test_every_weight_moves_what_it_should(make, change, moved):
    base = {"adversarial_weight": 0.0, "adversarial_start": 1.0} if "kl" in change else {}
    usual, changed = gradients(make(**base), clips()), gradients(make(**base, **change), clips())
    assert {name for name in usual if not torch.allclose(usual[name], changed[name], rtol=1e-4, atol=1e-9)} == moved


def test_without_a_critic_and_a_perceptual_distance_only_l1_and_kl_are_left(make):
    loss, logs = make(critic=None, perceptual=None, kl=0.5).loss(clips())
    assert loss.item() == pytest.approx((logs["l1"] + 0.5 * logs["kl"]).item(), rel=1e-6)
    assert set(logs) == {"l1", "kl", "psnr"}


def test_reconstruction_is_drawn_from_the_posterior_by_key_alone(make):
    objective = make(critic=None)
    first, again, other = (objective.loss(clips(key))[1]["l1"].item() for key in ("a", "a", "b"))
    assert first == again != other


def test_critic_joins_after_its_share_of_the_stage(make):
    objective = make(iterations=4, adversarial_start=0.5)
    before = [p.clone() for p in objective.critic.parameters()]
    has_critic = [any(name.startswith("critic/") for name in objective.step([clips()])) for _ in range(4)]
    assert has_critic == [False, False, True, True]
    assert objective.judge.step == 2
    assert any(not torch.equal(a, b) for a, b in zip(before, objective.critic.parameters(), strict=True))


def test_critic_gets_no_gradient_from_the_autoencoder_and_gives_it_none(make):
    objective, seen = make(), []
    objective.critic_loss(clips())[0].backward()
    assert all(p.grad is None for p in objective.vae.parameters())
    objective.critic.zero_grad()
    objective.judge.update = lambda batches, loss: seen.extend(objective.critic.parameters()) or {}
    objective.step([clips()])  # stops where the critic's turn begins
    assert seen
    assert all(p.grad is None and p.requires_grad for p in seen)


def test_loss_falls_on_a_fixed_batch(make):
    objective = make(critic=None, iterations=100)
    batch = clips(frames=5)
    plain = batch._replace(hq=[clip.mean(dim=(0, 2, 3), keepdim=True).expand_as(clip) for clip in batch.hq])
    losses = [objective.step([plain])["l1"].item() for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_fresh_vae_starts_as_a_codec_and_a_trained_one_is_left_alone(make):
    wide = seeded(functools.partial(VideoVAE, (8, 16, 16, 16), 1, groups=1), 0)
    silent, loud = make(start="codec", vae=wide), make(vae=wide)
    assert all(not block.conv2.weight.any() for block in silent.vae.modules() if isinstance(block, ResBlock))
    assert all(block.conv2.weight.any() for block in loud.vae.modules() if isinstance(block, ResBlock))


def test_a_decoder_learns_for_the_latents_of_an_existing_vae(make, recorder):
    recorder.latent_scale = lambda path: 1.25
    objective = make(learns="decoder")
    before = {name: value.clone() for name, value in objective.vae.state_dict().items()}
    for _ in range(2):
        objective.step([clips()])
    with objective.averaged():
        (exported,) = objective.export().values()
        after = exported.network.state_dict()
        changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert exported.facts["scale"] == 1.25
    assert changed
    assert {name.split(".")[0] for name in changed} == {"decoder"}
    assert recorder.asked == [("vae",)]


def test_a_step_without_finite_latents_leaves_the_scale_as_it_was():
    spread = Spread(lambda x: x)
    for latents in (torch.randn(100), torch.full((4,), torch.nan), torch.tensor([torch.inf, 0.0])):
        spread.update(latents)
        found = spread.scale()
        assert 0.5 < found < 2
    empty = Spread(lambda x: x)
    empty.update(torch.full((4,), torch.nan))
    assert empty.variance is None


def test_scale_brings_latents_to_unit_deviation(make):
    objective = make(critic=None)
    with torch.no_grad():
        mean = objective.vae.encode(torch.stack(clips().hq).transpose(1, 2)).mean
    objective.loss(clips())
    (exported,) = objective.export().values()
    assert (mean * exported.facts["scale"]).std(correction=0).item() == pytest.approx(1.0, rel=1e-4)


def test_spread_follows_slowly_and_survives_a_restart():
    spread, restored = Spread(lambda x: x, decay=0.9), Spread(lambda x: x, decay=0.9)
    spread.update(torch.tensor([-1.0, 1.0]))
    spread.update(torch.tensor([-3.0, 3.0]))
    assert spread.scale() == pytest.approx((0.9 * 1 + 0.1 * 9) ** -0.5)
    restored.load_state_dict(spread.state_dict())
    assert restored.scale() == spread.scale()


def test_preview_reconstructs_clips_of_any_length_from_the_mean(make):
    objective = make(critic=None)
    batch = Batch([torch.zeros(1, 3, 16, 16), torch.zeros(5, 3, 16, 24)], [], [])
    with torch.no_grad():
        made = objective.preview(batch)
    assert [clip.shape for clip in made] == [clip.shape for clip in batch.hq]
