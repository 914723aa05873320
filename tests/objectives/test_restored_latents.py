"""A decoder that learns from restored latents: which clips, what the generator is given, and what the loss compares."""

import functools

import pytest
import torch

from seedvr2.data.batch import Batch
from seedvr2.errors import UserError
from seedvr2.objectives.autoencoding import Autoencoding
from seedvr2.objectives.restored_latents import RestoredLatents
from seedvr2.randomness import Draws

SCALE = 1.25


@pytest.fixture
def make(recorder, vae, fields, prompts):
    """Function changes -> objective whose decoder learns from restored latents."""
    recorder.device = torch.device("cpu")
    recorder.latent_scale = lambda path: SCALE

    def make(share: float = 0.5, **changes):
        restored = functools.partial(RestoredLatents, generator=fields(), prompts=prompts, share=share)
        settings = {
            "build": recorder,
            "weights": recorder,
            "iterations": 10,
            "vae": vae,
            "optim": functools.partial(torch.optim.AdamW, lr=2e-3),
            "learns": "decoder",
            "restored": restored,
        }
        return Autoencoding(**{**settings, **changes})

    return make


def clips(count: int = 6, frames: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(3)
    hq, lq = ([torch.rand(frames, 3, 16, 16, generator=generator) * 2 - 1 for _ in range(count)] for _ in range(2))
    return Batch(hq, lq, [Draws("a", number) for number in range(count)])


def encoded(objective, frames) -> torch.Tensor:
    """Latents of clips as the objective draws them for its loss."""
    posterior = objective.vae.encode(torch.stack(frames).transpose(1, 2))
    noise = [Draws("a", number).normal("posterior", posterior.mean[0]) for number in range(len(frames))]
    return posterior.sample(torch.stack(noise))


def test_a_share_of_the_clips_is_decoded_from_restored_latents_and_the_others_from_clean_ones(make):
    objective, batch = make(), clips()
    chosen = objective.restored.chosen(batch)
    assert set(chosen) == {True, False}
    assert [source is lq for source, lq in zip(objective.restored.sources(batch), batch.lq, strict=True)] == chosen
    with torch.no_grad():
        clean, degraded = encoded(objective, batch.hq), encoded(objective, batch.lq)
        target, made, _ = objective.reconstruct(batch, "posterior")
        assert torch.equal(target, torch.stack(batch.hq).transpose(1, 2))
        restored = objective.restored.restored(degraded, batch.draws)
        for place, wanted in enumerate(chosen):
            latent = (restored if wanted else clean)[place]
            assert torch.allclose(made[place], objective.vae.decode(latent[None])[0], atol=1e-4)


def test_a_share_of_the_others_is_degraded_and_reconstructed_as_it_is(make):
    objective, batch = make(degraded=0.5), clips(24)
    restored = objective.restored.chosen(batch)
    shown = objective.shown(batch).hq
    for place, clip in enumerate(shown):
        assert clip is batch.hq[place] or (clip is batch.lq[place] and not restored[place])
    degraded = sum(clip is lq for clip, lq in zip(shown, batch.lq, strict=True))
    assert 0 < degraded < len(shown) - sum(restored)
    with torch.no_grad():
        target, made, _ = objective.reconstruct(batch, "posterior")
        place = next(place for place, clip in enumerate(shown) if clip is batch.lq[place])
        assert torch.equal(target[place], batch.lq[place].transpose(0, 1))
        latent = encoded(objective, batch.lq)[place]
        assert torch.allclose(made[place], objective.vae.decode(latent[None])[0], atol=1e-4)


def test_the_generator_gets_scaled_latents_at_the_last_timestep_and_takes_one_step(make):
    objective, batch = make(share=1.0), clips(1, frames=5)
    latent = torch.randn(16, 2, 2, 2, generator=torch.Generator().manual_seed(1))
    (made,) = objective.restored.restored(latent[None], batch.draws)
    ((vid, text, sizes, lengths, timestep),) = objective.restored.generator.calls
    assert sizes == [(2, 2, 2)]
    assert timestep.tolist() == [1000.0]
    assert torch.equal(text, objective.restored.text)
    assert lengths == [len(text)]
    noise, condition = vid[:, :16], vid[:, 16:32]
    assert torch.allclose(condition, (latent * SCALE).movedim(0, -1).flatten(0, 2))
    field = objective.restored.generator(vid, text, sizes, lengths, timestep)
    assert torch.allclose(made * SCALE, (noise - field).unflatten(0, (2, 2, 2)).movedim(-1, 0), atol=1e-5)


def test_the_generator_runs_once_per_batch_whichever_clips_are_chosen(make):
    calls = []
    for share in (1e-9, 0.5, 1.0):
        objective = make(share=share)
        objective.step([clips(4)])
        calls.append(len(objective.restored.generator.calls))
    assert calls == [1, 1, 1]  # ranks gather a sharded generator together, so that all must call it equally often


def test_only_the_decoder_learns(make):
    objective = make(share=1.0)
    before = {name: value.clone() for name, value in objective.restored.generator.state_dict().items()}
    objective.step([clips(2)])
    assert all(not p.requires_grad for p in objective.restored.generator.parameters())
    assert all(torch.equal(value, before[name]) for name, value in objective.restored.generator.state_dict().items())
    assert objective.export()["vae"].facts["scale"] == SCALE


def test_a_decoder_that_learns_shows_restored_latents_better(make):
    objective = make(share=1.0, iterations=60)
    batch = clips(2)
    plain = batch._replace(hq=[clip.mean(dim=(0, 2, 3), keepdim=True).expand_as(clip) for clip in batch.hq])
    losses = [objective.step([plain])["l1"].item() for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]


def test_previews_restore_every_clip(make):
    objective, batch = make(), clips(2)
    with torch.no_grad():
        latent = objective.vae.encode(batch.lq[1].transpose(0, 1)[None]).mean
        wanted = objective.vae.decode(objective.restored.restored(latent, batch.draws[1:]))[0].transpose(0, 1)
        assert torch.equal(objective.preview(batch)[1], wanted)


def test_what_cannot_work_is_refused(make):
    with pytest.raises(UserError, match="degraded: true"):
        make().step([clips()._replace(lq=[])])
    with pytest.raises(UserError, match=r"restored\.share is 0"):
        make(share=0)
    with pytest.raises(UserError, match="learns: decoder"):
        make(learns="all")
    with pytest.raises(UserError, match="degraded is 2"):
        make(degraded=2)
    with pytest.raises(UserError, match="degraded: true"):
        make(restored=None, degraded=0.5).step([clips()._replace(lq=[])])
