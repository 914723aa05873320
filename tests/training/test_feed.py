"""Feeds: what reaches an objective depends on seed, stage and step only."""

import functools

import pytest
import torch

from seedvr2.data.degradation.pipeline import Degradation
from seedvr2.data.degradation.resize import TargetResize
from seedvr2.data.pairs import Pairs
from seedvr2.data.procedural import ProceduralClips
from seedvr2.data.shapes import Shape
from seedvr2.errors import UserError
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.objectives.objective import Exported
from seedvr2.parallel.mesh import Parallelism
from seedvr2.parallel.runtime import Runtime
from seedvr2.randomness import seed_of, torch_generator
from seedvr2.training.builder import ModelBuilder
from seedvr2.training.catalogue import Catalogue
from seedvr2.training.feed import LatentFeed, PixelFeed
from seedvr2.training.weights import export

SHAPES = [Shape(1, 32, 32, share=0.5, batch=4), Shape(5, 32, 48, share=0.5, batch=2)]


def pairs():
    """Procedural clips, reduced only."""
    return Pairs(ProceduralClips(), Degradation([TargetResize(interpolations={"area": 1.0})]), SHAPES)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A catalogue with a small VAE of scale 2."""
    recipe = functools.partial(VideoVAE, (8, 8, 8, 8), 1, groups=4)
    recipe.config = {
        "_target_": "seedvr2.models.vae.autoencoder.VideoVAE",
        "_partial_": True,
        "channels": [8, 8, 8, 8],
        "layers": 1,
        "groups": 4,
    }
    folder = tmp_path_factory.mktemp("vae") / "final"
    torch.manual_seed(0)
    export({"vae": Exported(recipe(), recipe, {"scale": 2.0})}, folder)
    return Catalogue(folder), recipe


def feed(kind, weights, stage="base", memory=None, **settings):
    """A feed of either kind."""
    catalogue, recipe = weights
    more = {"vae": recipe} if kind is LatentFeed else {}
    build = ModelBuilder(Runtime(Parallelism(), torch.device("cpu")), 0, stage)
    memory = {} if memory is None else memory
    return kind(pairs=pairs, build=build, weights=catalogue, seed=1, stage=stage, memory=memory, **more, **settings)


def flat(batches):
    """All clips of all steps."""
    return [clip for step in batches for batch in step for side in (batch.hq, batch.lq) for clip in side]


def same(a, b):
    """Whether two lists of tensors are equal."""
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(PixelFeed, {}), (PixelFeed, {"degraded": True}), (LatentFeed, {}), (LatentFeed, {"pool": 2})],
)
def test_a_feed_started_late_continues_the_same_stream(weights, kind, settings):
    whole = flat(list(feed(kind, weights, **settings).batches(0, 4, 1))[2:])
    assert same(whole, flat(feed(kind, weights, **settings).batches(2, 4, 1)))


@pytest.mark.parametrize("kind", [PixelFeed, LatentFeed])
def test_micro_batches_are_the_global_batch_cut_up(weights, kind):
    one, many = feed(kind, weights).batches(0, 3, 1), feed(kind, weights).batches(0, 3, 2)
    for (whole,), parts in zip(one, many, strict=True):
        assert len(parts) == 2
        assert same(whole.hq, [clip for part in parts for clip in part.hq])
        assert [d.key for d in whole.draws] == [d.key for part in parts for d in part.draws]


@pytest.mark.parametrize("pool", [None, 1])
def test_clean_clips_become_the_clean_latents(weights, pool):
    latent = feed(LatentFeed, weights, pool=pool)
    (batch,) = next(latent.batches(0, 1, 1))
    shape = latent.pairs.shape_of(1, "base", 0)
    for place, (hq, lq) in enumerate(zip(batch.hq, batch.lq, strict=True)):
        number = seed_of(1, "base", 0, place) % shape.batch
        key = (1, "pool", *shape.size, number) if pool else (1, "base", 0, place)
        pair = pairs().draw(key, shape)
        for made, frames, side in ((hq, pair.hq, "hq"), (lq, pair.lq, "lq")):
            noise = torch.randn(made.shape, generator=torch_generator(*key, "posterior", side))
            with torch.no_grad():
                torch.testing.assert_close(made, latent.codec.encode(frames, noise=noise))


def test_previews_show_stills_and_motion(weights):
    assert sorted(len(hq) for hq, _ in feed(LatentFeed, weights).preview()[1]) == [1, 1, 5, 5]


def test_stages_see_different_samples(weights):
    assert not same(
        flat(feed(LatentFeed, weights).batches(0, 2, 1)), flat(feed(LatentFeed, weights, "apt").batches(0, 2, 1))
    )


def test_a_pool_holds_no_more_than_its_batches_and_serves_later_stages(weights):
    memory = {}
    list(feed(LatentFeed, weights, memory=memory, pool=1).batches(0, 12, 1))
    (latents,) = memory.values()
    assert 0 < len(latents) <= sum(shape.batch for shape in SHAPES)
    known = dict(latents)
    list(feed(LatentFeed, weights, "apt", memory=memory, pool=1).batches(0, 12, 1))
    assert all(latents[key] is value for key, value in known.items())


def test_a_pool_is_not_shared_by_stages_with_other_data(weights):
    recipes = [functools.partial(pairs), functools.partial(pairs)]
    for i, recipe in enumerate(recipes):
        recipe.config = {"_target_": "pairs", "root": str(i)}
    memory, (catalogue, vae) = {}, weights
    for recipe in recipes:
        build = ModelBuilder(Runtime(Parallelism(), torch.device("cpu")), 0, "base")
        settings = {"build": build, "weights": catalogue, "seed": 1, "stage": "base", "memory": memory, "pool": 1}
        list(LatentFeed(pairs=recipe, vae=vae, **settings).batches(0, 1, 1))
    assert [len(latents) > 0 for latents in memory.values()] == [True, True]


def test_latents_carry_the_scale_of_their_vae(weights):
    scaled = feed(LatentFeed, weights)
    latents = scaled.encode(("key",), pairs().draw(("key",), SHAPES[0]))
    scaled.codec.scale = 1.0
    assert torch.allclose(scaled.encode(("key",), pairs().draw(("key",), SHAPES[0]))[0] * 2, latents[0], atol=1e-6)


def test_previews_decode_to_the_size_of_their_clips(weights):
    latent = feed(LatentFeed, weights)
    batch, clips = latent.preview()
    frames = latent.frames(batch.hq)
    assert [x.shape for x in frames] == [hq.shape for hq, _ in clips]
    assert same([hq for hq, _ in clips], [hq for hq, _ in latent.preview()[1]])


@pytest.mark.parametrize("kind", [PixelFeed, LatentFeed])
def test_previews_come_from_a_validation_set_of_its_own_and_stay_the_same(weights, kind):
    def own():
        return Pairs(ProceduralClips(), Degradation([TargetResize(interpolations={"area": 1.0})]), [Shape(5, 48, 32)])

    apart, usual = feed(kind, weights, validation=own), feed(kind, weights)
    clips = [hq for hq, _ in apart.preview()[1]]
    assert {tuple(clip.shape) for clip in clips} == {(5, 3, 48, 32)}
    assert same(flat(list(apart.batches(0, 2, 1))), flat(list(usual.batches(0, 2, 1))))
    again = feed(kind, weights, stage="apt", validation=own)
    assert same(clips, [hq for hq, _ in again.preview()[1]])
    assert same(apart.preview()[0].hq, again.preview()[0].hq)


def test_tokens_are_patches_of_latents(weights):
    latent, pixels = feed(LatentFeed, weights), feed(PixelFeed, weights)
    grids = {tuple(latent.grids(batch)) for (batch,) in latent.batches(0, 6, 1)}
    assert grids == {((1, 2, 2),) * 4, ((2, 2, 3),) * 2}
    assert {grid for (batch,) in pixels.batches(0, 6, 1) for grid in pixels.grids(batch)} == {()}


def test_micro_batches_that_clips_cannot_fill_equally_are_refused(weights):
    with pytest.raises(UserError, match="accumulates 3 micro-batches"):
        list(feed(PixelFeed, weights).batches(0, 1, 3))


def test_pixels_come_with_degraded_clips_if_asked_for(weights):
    clean, both = feed(PixelFeed, weights), feed(PixelFeed, weights, degraded=True)
    for (plain,), (pair,) in zip(clean.batches(0, 3, 1), both.batches(0, 3, 1), strict=True):
        assert not plain.lq
        assert same(plain.hq, pair.hq)
        assert [lq.shape for lq in pair.lq] == [hq.shape for hq in pair.hq]
        assert not same(pair.hq, pair.lq)
    assert [len(side.preview()[0].lq) for side in (clean, both)] == [0, len(both.preview()[1])]
