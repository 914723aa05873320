"""The experiments of the paper: they compose, their networks have the paper's sizes, their values are the paper's."""

import functools
import json

import pytest
import torch

from seedvr2 import config, train
from seedvr2.errors import UserError
from seedvr2.losses.adversarial import NonSaturating, RpGAN
from seedvr2.models.windows import fixed_window
from seedvr2.parallel.mesh import Parallelism
from seedvr2.training.catalogue import Catalogue
from seedvr2.training.plan.report import plan

LADDER = [f"ablation/{name}" for name in ("nonsat_r1", "rpgan_r1_r2", "plus_l1", "plus_features", "plus_distill")]
NAMES = ["vae", "base_7b", "base_3b", "distill_7b", "apt_7b", "apt_3b", *LADDER, "ablation/fixed_window"]
SIZES = {"7b": 8_239_607_872, "3b": 3_391_475_776}
DISCRIMINATORS = {"7b": 8_579_251_968, "3b": 3_627_319_040}  # without the output layers, with three heads
CRITIC = "stage@stages.apt=apt_teacher_critic"
CHAIN = [f"distill_{n}to{n // 2}" for n in (64, 32, 16, 8, 4, 2)]


def toy(size: str) -> list[str]:
    """Overrides that make an experiment of the paper small enough for a CPU."""
    parts = [f"model={size}", f"vae={size}", "prompts=learned", "data=procedural", "degradation=light"]
    return [*parts, "parallel=single", "run.threads=1", "run.precision=fp32"]


@functools.cache
def composed(experiment: str, *overrides: str):
    """Stages and parallelism of an experiment."""
    settings = config.plain(config.load("train", [f"+experiment={experiment}", "data.root=d", *overrides]))
    _, stages, _, parallel = train.build(settings)
    return stages, parallel


def recipe(stage) -> dict:
    """The arguments an objective is made with."""
    objective, arguments = stage.objective, {}
    while isinstance(objective, functools.partial):
        arguments = {**objective.keywords, **arguments}
        objective = objective.func
    return arguments


@functools.cache
def parameters(experiment: str, stage: int, network: str, *overrides: str) -> int:
    with torch.device("meta"):
        made = recipe(composed(experiment, *overrides)[0][stage])[network]()
    return sum(parameter.numel() for parameter in made.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_batches_can_be_shared_by_the_data_ranks_of_the_mesh(name):
    stages, parallel = composed(name)
    assert isinstance(parallel, Parallelism)
    data = parallel.shard * parallel.replicate // parallel.sequence
    for stage in stages:
        for shape in stage.feed.keywords["pairs"].keywords["shapes"]:
            assert shape.batch % (data * stage.accumulate) == 0
            assert (shape.frames - 1) % 4 == 0
            assert shape.height % 16 == shape.width % 16 == 0


def fits(gpu: str, experiment: str, *overrides: str) -> bool:
    """Whether a plan is made; a refusal is an error."""
    stages, parallel = composed(experiment, "run.dir=unused", *overrides)
    described = config.plain(config.load("train", [f"gpu={gpu}", "run.dir=unused"]))["gpu"]
    return bool(list(plan(stages, parallel, config.build(described))))


@pytest.mark.parametrize("name", NAMES)
def test_it_fits_the_gpus_of_the_paper(name):
    assert fits("h100_80gb", name)


@pytest.mark.parametrize("method", ["finetune", "finetune_gan"])
def test_fine_tuning_fits_one_gpu_of_24_gb(method):
    assert fits("rtx4090_24gb", "finetune_3b_lora", "run.weights=w", f"stage@stages.finetune={method}")


def test_stages_of_the_final_models():
    assert [stage.name for stage in composed("apt_7b")[0]] == [*CHAIN, "apt"]
    assert [stage.name for stage in composed("apt_3b")[0]] == [*CHAIN, "apt"]
    assert [stage.iterations for stage in composed("apt_7b")[0]] == [10_000] * 6 + [20_000]


@pytest.mark.parametrize(
    ("name", "size"), [("base_7b", "7b"), ("base_3b", "3b"), ("distill_7b", "7b"), ("apt_3b", "3b")]
)
def test_generators_have_the_papers_size(name, size):
    assert parameters(name, 0, "generator") == SIZES[size]


def test_discriminators_are_of_the_generators_class_unless_asked():
    for name, size, overrides in (
        ("apt_7b", "7b", ()),
        ("apt_3b", "3b", ()),
        ("apt_3b", "7b", (CRITIC,)),
    ):
        assert parameters(name, 6, "discriminator", *overrides) == DISCRIMINATORS[size]


def test_one_override_gives_the_3b_a_discriminator_of_the_7b_and_changes_nothing_else():
    usual = ["+experiment=apt_3b", "data.root=d"]
    small, large = (config.plain(config.load("train", [*usual, *more])) for more in ((), (CRITIC,)))
    for settings, width, weights in ((small, 2560, "base/generator"), (large, 3072, "initial/teacher")):
        apt = settings["stages"]["apt"]["objective"]
        assert apt.pop("discriminator")["trunk"]["width"] == width
        assert apt.pop("discriminator_weights") == weights
    assert small == large


def test_vae_and_prompts_are_the_released_ones():
    for name in ("base_7b", "apt_3b"):
        with torch.device("meta"):
            vae = composed(name)[0][-1].feed.keywords["vae"]()
        assert sum(parameter.numel() for parameter in vae.parameters()) == 250_648_227
        assert parameters(name, 0, "prompts") == (58 + 64 + 58) * 5120
    assert parameters("vae", 0, "vae") == 250_648_227


def test_the_3b_is_taught_by_the_7b_in_the_first_division_only():
    first, second = (recipe(stage) for stage in composed("apt_3b")[0][:2])
    assert parameters("apt_3b", 0, "teacher") == SIZES["7b"]
    assert first["teacher_weights"] == "initial/teacher"
    assert second.get("teacher") is None
    assert second["generator"].config == first["generator"].config


def test_values_that_the_paper_gives():
    stages = composed("apt_7b")[0]
    assert [recipe(stage)["guidance"] for stage in stages[:6]] == [7.5, 1, 1, 1, 1, 1]
    apt = recipe(stages[6])
    assert (apt["r1"], apt["r2"], apt["ema"]) == (1000, 1000, 0.995)
    assert {name: term.weight for name, term in apt["terms"].items()} == {"l1": 0.1, "features": 0.1}
    for stage in stages:
        settings = recipe(stage)["optim"].keywords
        assert (settings["lr"], settings["weight_decay"]) == (1e-6, 0.01)
    assert apt["optim"].keywords["betas"][0] == 0
    assert recipe(composed("base_7b")[0][0])["ema"] == 0.9998


def test_the_optimizer_of_apt_is_one_override_away():
    optim = recipe(composed("apt_7b", "optim@stages.apt.objective.optim=rmsprop")[0][6])["optim"]
    assert (optim.func, optim.keywords["alpha"]) == (torch.optim.RMSprop, 0.9)


def test_clips_grow_from_images_to_a_hundred_frames():
    shapes = composed("apt_7b")[0][6].feed.keywords["pairs"].keywords["shapes"]
    longest = [max(shape.frames for shape in shapes if shape.active(step)) for step in range(0, 20_000, 500)]
    assert longest == sorted(longest)
    assert (longest[0], longest[-1]) == (1, 101)
    assert all(any(shape.frames == 1 and shape.active(step) for shape in shapes) for step in range(0, 20_000, 500))


def test_the_ladder_adds_one_thing_at_a_time_for_equal_updates():
    rungs = {name.split("/")[1]: recipe(composed(name)[0][-1]) for name in LADDER}
    assert {name: type(rung["gan"]) for name, rung in rungs.items()} == {
        name: NonSaturating if name == "nonsat_r1" else RpGAN for name in rungs
    }
    assert [rung["r2"] > 0 for rung in rungs.values()] == [False, True, True, True, True]
    terms = [{name: term.weight for name, term in rung["terms"].items() if term} for rung in rungs.values()]
    both = {"l1": 1.0, "features": 1.0}
    assert terms == [{}, {}, {"l1": 1.0}, both, both]
    assert {sum(stage.iterations for stage in composed(name)[0]) for name in LADDER} == {20_000}
    assert [len(composed(name)[0]) for name in LADDER] == [1, 1, 1, 1, 7]


def test_fixed_windows_are_in_both_players():
    rung = recipe(composed("ablation/fixed_window")[0][0])
    for player in ("generator", "discriminator"):
        assert rung[player].keywords["trunk"].keywords["window"].func is fixed_window
        assert rung[player].keywords["trunk"].keywords["window"].keywords["extent"] == [32, 32]


@pytest.mark.parametrize("name", ["ablation/plus_l1", "ablation/plus_distill"])
def test_a_rung_without_weights_says_where_to_get_them(name, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        train.main([f"+experiment={name}", *toy("debug"), f"run.dir={tmp_path}/run"])
    assert caught.value.code == 2
    assert "seedvr_ema_7b.pth" in capsys.readouterr().err


def test_a_rung_runs_at_toy_size(tmp_path):
    weights = ", ".join(f"{name}: seedvr2/assets/tiny/{name}.safetensors" for name in ("generator", "vae", "prompts"))
    short = ["stages.apt.iterations=1", "stages.apt.preview_every=0", f"run.dir={tmp_path}/run"]
    train.main(["+experiment=ablation/plus_l1", *toy("tiny"), *short, f"run.weights={{{weights}}}"])
    record = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert record["apt/g/l1"] > 0
    assert "apt/g/features" not in record


@pytest.mark.parametrize(
    ("name", "stage", "given", "named"),
    [
        ("distill_7b", 0, (), "'generator'"),
        ("apt_7b", 0, (), "'generator'"),
        ("apt_7b", 6, ("generator",), "'prompts'"),
        ("apt_3b", 0, ("generator", "prompts"), "'initial/teacher'"),
        ("apt_3b", 0, ("teacher", "prompts"), "'generator'"),
        ("base_7b", 0, (), "'prompts'"),
        ("base_3b", 0, (), "'prompts'"),
        ("ablation/plus_features", 0, (), "'generator'"),
    ],
)
def test_missing_weights_are_named_before_a_large_network_is_built(name, stage, given, named, tmp_path):
    def refuse(name, recipe, weights=None, **settings):
        assert name == "prompts", f"{name} was built"
        return recipe()

    for network in given:
        (tmp_path / f"{network}.pth").touch()
    weights = Catalogue({network: str(tmp_path / f"{network}.pth") for network in given})
    chosen = composed(name)[0][stage]
    with pytest.raises(UserError, match=named) as caught:
        chosen.objective(build=refuse, weights=weights, iterations=chosen.iterations)
    assert "run.weights" in str(caught.value)
