"""A cache holds what the VAE makes of its clips, whoever wrote it, and is refused where it does not belong."""

import functools
import resource
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file

from seedvr2 import config
from seedvr2.errors import UserError
from seedvr2.models.codec import LatentCodec
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.objectives.objective import Exported
from seedvr2.parallel.mesh import Parallelism
from seedvr2.parallel.runtime import Runtime
from seedvr2.randomness import seed_of, torch_generator
from seedvr2.training.builder import ModelBuilder
from seedvr2.training.catalogue import Catalogue
from seedvr2.training.encoding import DTYPES, bytes_of, encode_shards
from seedvr2.training.feed import LatentFeed
from seedvr2.training.latent_cache import LatentCache, origin
from seedvr2.training.weights import export, load_network

SIZES = ((1, 32, 32), (5, 32, 48))
SETTINGS = {"samples": 5, "draws": 2, "per_shard": 2, "dtype": "fp32", "say": lambda line: None}


def data(preset: str = "light", **changes):
    """Recipe of pairs of drawn clips, with other entries."""
    shapes = [
        f"{{_target_: seedvr2.data.shapes.Shape, frames: {f}, height: {h}, width: {w}, batch: 4}}" for f, h, w in SIZES
    ]
    overrides = [f"data.shapes=[{','.join(shapes)}]", f"degradation={preset}", "run.dir=unused"]
    return config.build(config.plain(config.load("train", overrides))["data"] | changes, "data")


@pytest.fixture(scope="module")
def vaes(tmp_path_factory):
    """The recipe of a small VAE, and files of two of them."""
    node = {
        "_target_": "seedvr2.models.vae.autoencoder.VideoVAE",
        "_partial_": True,
        "channels": [8, 8, 8, 8],
        "layers": 1,
        "groups": 4,
    }
    recipe = functools.partial(VideoVAE, (8, 8, 8, 8), 1, groups=4)
    recipe.config = node
    paths = []
    for seed in range(2):
        torch.manual_seed(seed)
        folder = tmp_path_factory.mktemp("vae") / "final"
        export({"vae": Exported(recipe(), recipe, {"scale": 2.0})}, folder)
        paths.append(folder / "vae.safetensors")
    return recipe, *paths


def fill(output, vaes, recipe=None, **settings) -> LatentCache:
    runtime = Runtime(Parallelism(), torch.device("cpu"))
    given = {**SETTINGS, **settings}
    return encode_shards(
        data=recipe or data(), vae=vaes[0], weights=str(vaes[1]), output=str(output), runtime=runtime, **given
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory, vaes):
    return fill(tmp_path_factory.mktemp("cache") / "whole", vaes)


def feed(vaes, cache, *, recipe=None, vae=1, **settings) -> LatentFeed:
    weights = Catalogue({"vae": str(vaes[vae])})
    build = ModelBuilder(Runtime(Parallelism(), torch.device("cpu")), 0, "base")
    given = {"pairs": recipe or data(), "vae": vaes[0], "build": build, "weights": weights}
    return LatentFeed(**given, seed=1, stage="base", memory={}, cache=str(cache.folder), **settings)


def test_the_space_foretold_is_that_of_the_tensors(cache, vaes):
    shards = [load_file(path) for path in cache.folder.glob("*.safetensors")]
    found = sum(tensor.nbytes for shard in shards for tensor in shard.values())
    how = {"versions": 1 + SETTINGS["draws"], "dtype": DTYPES[SETTINGS["dtype"]]}
    assert found == sum(cache.count(size) * bytes_of(size, 16, **how) for size in SIZES)


def test_a_mistake_leaves_no_cache_behind(vaes, tmp_path):
    torch.save({"nothing": torch.ones(1)}, tmp_path / "wrong.pth")
    with pytest.raises(UserError):
        fill(tmp_path / "cache", (vaes[0], tmp_path / "wrong.pth"))
    assert not (tmp_path / "cache").exists()


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_latents_are_those_of_the_vae(cache, vaes):
    pairs, codec = data()(), LatentCodec(load_network(vaes[1]))
    for shape in pairs.shapes:
        for number in (0, 4):
            hq, lqs, _ = pairs.draws((0, "cache", *shape.size, number), shape, 2)
            for draw, lq in enumerate(lqs):
                sample = cache.read(shape.size, number, draw)
                for clip, found in ((hq, sample.hq), (lq, sample.lq)):
                    with torch.no_grad():
                        expected = codec.moments(clip)
                    torch.testing.assert_close(found.mean, expected.mean, atol=2e-5, rtol=0)
                    torch.testing.assert_close(found.logvar, expected.logvar, atol=2e-5, rtol=0)
            assert not torch.equal(*(cache.read(shape.size, number, draw).lq.mean for draw in range(2)))


def test_any_number_of_ranks_workers_and_kills_leave_the_same_bytes(cache, vaes, tmp_path):
    for rank in (1, 0):
        fill(tmp_path / "ranks", vaes, rank=rank, world=2)
    fill(tmp_path / "workers", vaes, workers=2)
    fill(tmp_path / "killed", vaes)
    for path in sorted((tmp_path / "killed").glob("*.safetensors"))[1:4]:
        path.unlink()  # as if it had been killed while writing these
    lines = []
    fill(tmp_path / "killed", vaes, say=lines.append)
    assert lines[0].startswith("3 of 6 shards")
    for name in ("ranks", "workers", "killed"):
        assert contents(tmp_path / name) == contents(cache.folder)


def test_ranks_may_begin_a_cache_at_the_same_moment(tmp_path):
    facts = {"samples": 2, "draws": 1, "per_shard": 1}
    with ThreadPoolExecutor(8) as ranks:
        for attempt in range(30):
            folder = tmp_path / str(attempt)
            begun = list(ranks.map(LatentCache.create, [folder] * 8, [facts] * 8))
            assert all(cache.samples == 2 for cache in begun)
            assert [path.name for path in folder.iterdir()] == ["cache.json"]


def test_training_draws_from_the_cache_by_step_and_position_alone(cache, vaes):
    def latents(start: int) -> list[torch.Tensor]:
        steps = feed(vaes, cache).batches(start, 6, 1)
        return [clip for (batch,) in steps for side in (batch.hq, batch.lq) for clip in side]

    whole, late = latents(0), latents(3)
    assert all(torch.equal(a, b) for a, b in zip(whole[-len(late) :], late, strict=True))
    sizes = {tuple(clip.shape) for clip in whole}
    assert sizes == {(1, 4, 4, 16), (2, 4, 6, 16)}
    sample = {float(clip.mean()) for clip in whole}
    assert len(sample) > 0.9 * len(whole)  # posteriors are sampled anew


def test_clean_clips_become_the_clean_latents(cache, vaes):
    trained = feed(vaes, cache)
    (batch,) = next(trained.batches(0, 1, 1))
    shape = trained.pairs.shape_of(1, "base", 0)
    for place, (hq, lq) in enumerate(zip(batch.hq, batch.lq, strict=True)):
        key = (1, "base", 0, place)
        number, draw = seed_of(*key, "sample") % cache.count(shape.size), seed_of(*key, "draw") % cache.draws
        sample = cache.read(shape.size, number, draw)
        for made, posterior, side in ((hq, sample.hq, "hq"), (lq, sample.lq, "lq")):
            noise = torch.randn(made.shape, generator=torch_generator(*key, "posterior", side))
            torch.testing.assert_close(made, trained.drawn(posterior, noise))


def test_a_cache_of_another_vae_or_degradation_is_refused(cache, vaes):
    with pytest.raises(UserError, match="made with another vae"):
        feed(vaes, cache, vae=2)
    with pytest.raises(UserError, match="made with another degradation"):
        feed(vaes, cache, recipe=data("none"))
    with pytest.raises(UserError, match="holds a cache with another degradation"):
        fill(cache.folder, vaes, recipe=data("none"))
    with pytest.raises(UserError, match="holds a cache with another samples"):
        fill(cache.folder, vaes, samples=6)


def test_a_cache_of_other_clips_is_refused_but_files_may_move(cache, vaes, tmp_path, caplog):
    with pytest.raises(UserError, match="made with another data"):
        feed(vaes, cache, recipe=data(source={"_target_": "seedvr2.data.procedural.ProceduralClips", "count": 7}))
    feed(vaes, cache, recipe=data(shapes=data().config["shapes"][:1]))
    assert not caplog.records
    moved = fill(tmp_path, vaes)
    moved.check(SIZES, origin(data(), vaes[1]) | {"places": {"root": "/elsewhere"}})
    assert "/elsewhere" in caplog.text


def test_what_is_missing_is_named(cache, vaes, tmp_path):
    part = fill(tmp_path / "part", vaes)
    next((tmp_path / "part").glob("5x*.safetensors")).unlink()
    with pytest.raises(UserError, match="lacks 1 of 3 shards of 5x32x48"):
        feed(vaes, part)
    with pytest.raises(UserError, match="no latent cache"):
        LatentCache(tmp_path)


def test_a_full_disk_leaves_no_half_written_shard(vaes, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
    try:
        with pytest.raises(UserError, match="cannot be written"):
            fill(tmp_path / "full", vaes)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "full").glob("*.safetensors"))
    assert not list((tmp_path / "full").glob(".*"))


@pytest.mark.parametrize("name", ["samples", "draws", "per_shard"])
def test_numbers_below_one_are_refused(vaes, tmp_path, name):
    with pytest.raises(UserError, match=f"{name} is 0"):
        fill(tmp_path, vaes, **{name: 0})


def test_every_shape_may_have_its_own_number_of_clips(vaes, tmp_path):
    cache = fill(tmp_path, vaes, samples=[5, 3])
    assert [cache.count(size) for size in SIZES] == [5, 3]
    assert [len(cache.shards(size)) for size in SIZES] == [3, 2]
    cache.check(SIZES, {})
    alike = fill(tmp_path / "alike", vaes)
    for size in SIZES:
        a, b = (c.read(size, 2, 1) for c in (cache, alike))
        assert torch.equal(a.lq.mean, b.lq.mean)
    with pytest.raises(UserError, match="no clips of 5x32x32"):
        cache.check([(5, 32, 32)], {})
    with pytest.raises(UserError, match="3 numbers for 2 shapes"):
        fill(tmp_path / "wrong", vaes, samples=[1, 2, 3])


def test_latents_belong_to_the_encoder_whatever_the_decoder(vaes, tmp_path):
    path = vaes[1]
    for part, is_same in (("decoder", True), ("encoder", False)):
        network = load_network(path)
        with torch.no_grad():
            getattr(network, part).conv_out.weight.add_(1)
        export({"vae": Exported(network, vaes[0], {"scale": 2.0})}, tmp_path / part)
        assert (origin(data(), path) == origin(data(), tmp_path / part / "vae.safetensors")) == is_same
