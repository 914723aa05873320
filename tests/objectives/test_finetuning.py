"""Fine-tuning the bundled one-step model: what learns, what is kept, what is exported, and that it helps."""

import copy
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from seedvr2 import config
from seedvr2.data.batch import Batch
from seedvr2.data.procedural import ProceduralClips
from seedvr2.errors import UserError
from seedvr2.losses.adversarial import RpGAN
from seedvr2.losses.matching import l1
from seedvr2.models.codec import LatentCodec
from seedvr2.models.discriminator import Discriminator
from seedvr2.models.lora import Lora, adapted, is_adapter
from seedvr2.objectives.adversarial import AdversarialPostTraining, Term
from seedvr2.objectives.finetuning import Finetuning, OneStepRegression
from seedvr2.optim.trainee import Trainee
from seedvr2.parallel.mesh import Parallelism
from seedvr2.parallel.runtime import Runtime
from seedvr2.randomness import Draws
from seedvr2.restore.models import Adapters, load_model
from seedvr2.restore.search import BUNDLED, find_model
from seedvr2.training.builder import ModelBuilder
from seedvr2.training.catalogue import Catalogue
from seedvr2.training.weights import export, latent_scale, load_network, read_metadata

LORA = Lora(rank=8, alpha=8.0)


@functools.lru_cache
def tiny():
    """Plain recipes of the bundled generator and prompts."""
    files = {name: BUNDLED / f"{name}.safetensors" for name in ("generator", "prompts")}
    return {name: config.build(read_metadata(path)["recipe"]) for name, path in files.items()}


@functools.lru_cache
def latents(count: int, first: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Latents of drawn pictures, and of the same pictures with a damage that the model has never seen: darkness."""
    path = BUNDLED / "vae.safetensors"
    codec = LatentCodec(load_network(path), scale=latent_scale(path), posterior="mean")
    clips = ProceduralClips(count=1000)
    pairs = []
    for number in range(first, first + count):
        clip = clips.clip(np.random.default_rng(number), 1, 64, 64)
        hq = torch.from_numpy(clip.copy()).permute(0, 3, 1, 2) * 2 - 1
        with torch.no_grad():
            pairs.append((codec.encode(hq), codec.encode(0.4 * hq - 0.5)))
    return pairs


def batch_of(key, count=4, first=0, pool=None) -> Batch:
    pairs = latents(pool or count, first)
    numbers = range(count) if pool is None else np.random.default_rng(key).integers(pool, size=count)
    hq, lq = zip(*(pairs[i] for i in numbers), strict=True)
    return Batch(list(hq), list(lq), [Draws("test", key, i) for i in range(count)])


def regression(**changes):
    optim = functools.partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.0)
    settings = {"prompts": tiny()["prompts"], "optim": optim, "terms": {"l1": Term(l1)}, "ema": 0.9}
    return functools.partial(OneStepRegression, **settings | changes)


def adversarial():
    trunk = tiny()["generator"].keywords["trunk"]
    return functools.partial(
        AdversarialPostTraining,
        prompts=tiny()["prompts"],
        optim=functools.partial(torch.optim.AdamW, lr=1e-4, betas=(0.0, 0.99)),
        gan=RpGAN(),
        terms={"l1": Term(l1)},
        discriminator=functools.partial(adapted, recipe=functools.partial(Discriminator, trunk=trunk), lora=LORA),
        discriminator_weights="generator",
    )


def make(method=None, *, half=False, weights=BUNDLED, **changes) -> Finetuning:
    settings = {"generator": tiny()["generator"], "lora": LORA, "method": method or regression(), "iterations": 40}
    build = ModelBuilder(Runtime(Parallelism(), torch.device("cpu")), 0, "finetune", half=half)
    return Finetuning(build=build, weights=Catalogue(weights), **settings | changes)


def validation_l1(objective) -> float:
    batch = batch_of(99, count=8, first=500)
    with torch.no_grad(), objective.averaged():
        made = objective.preview(batch)
    return torch.stack([(a - b).abs().mean() for a, b in zip(made, batch.hq, strict=True)]).mean().item()


@functools.lru_cache
def trained() -> Finetuning:
    objective = make(strength=0.75, merge=True)
    for step in range(40):
        objective.step([batch_of(step, count=4, pool=32)])
    return objective


def test_it_lowers_the_error_on_unseen_clips_of_a_new_degradation():
    before, after = validation_l1(make()), validation_l1(trained())
    assert after < 0.8 * before


@pytest.mark.parametrize("method", [regression, adversarial])
def test_base_weights_stay_and_adapters_move(method):
    objective = make(method())
    before = {key: value.clone() for key, value in objective.generator.state_dict().items()}
    objective.step([batch_of(1)])
    after = objective.generator.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert all(is_adapter(key) for key in changed)


def test_checkpoints_hold_what_learns_and_continue_exactly():
    objective, again = make(), make()
    objective.step([batch_of(1)])
    state = copy.deepcopy(objective.stateful["student"].state_dict())
    assert all(is_adapter(key) for key in state["networks"]["generator"])
    again.stateful["student"].load_state_dict(state)
    logs = [one.step([batch_of(2)])["l1"] for one in (objective, again)]
    assert torch.equal(*logs)
    assert validation_l1(objective) == validation_l1(again)


def test_the_players_share_the_frozen_trunk_and_differ_in_adapters():
    objective = make(adversarial())
    g = dict(objective.generator.trunk.named_parameters())
    d = dict(objective.method.discriminator.trunk.named_parameters())
    assert {key for key in d if d[key] is not g[key]} == {key for key in d if is_adapter(key)}
    learning = [p for t in objective.stateful.values() if isinstance(t, Trainee) for p in t.parameters.values()]
    assert all(p.requires_grad for p in learning)
    assert not {id(p) for p in learning} & {id(p) for p in d.values() if not p.requires_grad}


def test_in_half_precision_only_the_frozen_weights_are_half():
    objective = make(half=True)
    types = {key: p.dtype for key, p in objective.generator.named_parameters()}
    assert all(kind == (torch.float32 if is_adapter(key) else torch.bfloat16) for key, kind in types.items())
    with torch.autocast("cpu", torch.bfloat16):
        assert objective.step([batch_of(1)])["l1"].isfinite()


@pytest.fixture(scope="module")
def final(tmp_path_factory) -> Path:
    """The export of a trained stage."""
    folder = tmp_path_factory.mktemp("stage") / "final"
    objective = trained()
    with objective.averaged():
        export(objective.export(), folder)
    return folder


def test_adapters_are_exported_alone_with_what_they_need(final):
    tensors = load_file(final / "lora.safetensors")
    facts = read_metadata(final / "lora.safetensors")
    assert all(is_adapter(key) and key.startswith("blocks.") for key in tensors)
    assert (final / "lora.safetensors").stat().st_size < 0.1 * (final / "generator.safetensors").stat().st_size
    assert facts["recipe"] == tiny()["generator"].config
    assert {key: facts["lora"][key] for key in ("rank", "alpha", "strength")} == {
        "rank": 8,
        "alpha": 8.0,
        "strength": 0.75,
    }


def restorer(adapters=None, model="tiny"):
    files = find_model(model, has_gpu=False)
    cpu = {"device": torch.device("cpu"), "dtype": torch.float32, "posterior": "mean"}
    return load_model(files, **cpu, adapters=adapters).generator.state_dict()


def test_inference_with_adapters_equals_the_base_and_the_merged_generator(final):
    file = final / "lora.safetensors"
    base, merged = load_network(BUNDLED / "generator.safetensors"), load_network(final / "generator.safetensors")
    for found, wanted in (
        (restorer(Adapters(file, 0.0)), base),
        (restorer(Adapters(file, 0.75)), merged),
        (restorer(Adapters(file)), merged),
    ):
        assert all(torch.equal(found[key], value) for key, value in wanted.state_dict().items())
    stronger = restorer(Adapters(file, 1.0))
    assert not all(torch.equal(stronger[key], value) for key, value in merged.state_dict().items())


def test_the_merged_generator_does_what_the_trained_one_did(final):
    objective = make(strength=1.0, merge=True)
    objective.stateful["student"].load_state_dict(trained().stateful["student"].state_dict())
    plain = make()
    with objective.averaged():
        merged = objective.merged(objective.facts())
    plain.method.generator = merged
    assert validation_l1(plain) == pytest.approx(validation_l1(objective), abs=1e-5)


def test_files_without_adapters_are_named():
    with pytest.raises(UserError, match=r"generator\.safetensors holds no adapters"):
        restorer(Adapters(BUNDLED / "generator.safetensors"))


def test_adapters_for_other_weights_are_refused_with_their_name(final):
    (final / "vae.safetensors").symlink_to(BUNDLED / "vae.safetensors")
    with pytest.raises(UserError, match=r"lora\.safetensors: these adapters were trained on other weights"):
        restorer(Adapters(final / "lora.safetensors"), str(final))


def test_without_a_one_step_generator_it_says_where_one_comes_from():
    with pytest.raises(UserError, match=r"needs a one-step generator.*run\.weights.*seedvr2_ema_3b\.pth"):
        make(weights=None)


def test_a_method_without_terms_is_refused():
    with pytest.raises(UserError, match="no terms"):
        make(regression(terms={"l1": None}))
