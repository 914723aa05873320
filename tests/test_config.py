"""Configurations: every mistake is one clear sentence, and everything we ship composes and builds."""

import functools
import itertools
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from seedvr2 import config, train
from seedvr2.errors import UserError

FOLDER = config.folder()
GROUPS = {path.name: sorted(p.stem for p in path.glob("*.yaml")) for path in FOLDER.iterdir() if path.is_dir()}
OWN = {"indexed": ["data.index=i"], "indexed_growing": ["data.index=i"], "own_pairs": ["data.hq=h", "data.lq=l"]}
OTHERS = ("bench", "experiment", "stage", "optim", "window")  # tested by tests of their own
OPTIONS = [(group, name) for group, names in GROUPS.items() for name in names if group not in OTHERS]


@functools.lru_cache
def compose(*overrides: str) -> DictConfig:
    return config.load("train", ["run.dir=x", *overrides])


def settings(*overrides: str) -> dict:
    """A plain config of its own for every caller."""
    return config.plain(compose(*overrides))


def needed_by(group: str, option: str) -> list[str]:
    """Values that an option leaves to the user."""
    if group == "prompts" and option == "learned":
        return []
    if option == "same_as_teacher":
        return ["+model@teacher=7b"]
    if group != "data" or option == "procedural":
        return []
    return OWN.get(option, ["data.root=d"])


def parts(node):
    """All mappings with a target in a plain config."""
    if isinstance(node, dict):
        yield from [node] if "_target_" in node else []
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from parts(value)


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: value)
def test_every_option_composes_and_names_real_parts(group, option):
    plain = settings(f"{group}={option}", *needed_by(group, option))
    targets = list(parts(plain))
    assert targets
    for node in targets:
        target = config.resolve(node["_target_"], group)
        arguments = {key: value for key, value in node.items() if key not in ("_target_", "_partial_")}
        config.check_arguments(target, arguments, group, complete=not node.get("_partial_", False))


@pytest.mark.parametrize("experiment", GROUPS["experiment"])
def test_every_experiment_builds_into_stages_of_recipes(experiment):
    needs_data = "data.root" in (FOLDER / "experiment" / f"{experiment}.yaml").read_text()
    run, stages, track, _ = train.build(settings(f"+experiment={experiment}", *(["data.root=d"] if needs_data else [])))
    assert run.folder == Path("x")
    assert all(isinstance(recipe, functools.partial) for stage in stages for recipe in (stage.objective, stage.feed))
    known = {"vae", "decoder", "base", "distill", "tune", "restored", "apt", "faithful", "vivid", "finetune"}
    assert {stage.name.split("_")[0] for stage in stages} <= known
    assert track["sinks"]


@pytest.mark.parametrize("stage", GROUPS["stage"])
@pytest.mark.parametrize("model", ["7b", "tiny"])
def test_every_stage_builds_with_every_family_without_making_a_network(stage, model, monkeypatch):
    def refuse(self, *arguments, **settings):
        raise AssertionError("a network was made")

    monkeypatch.setattr(torch.nn.Module, "__init__", refuse)
    monkeypatch.setattr("seedvr2.losses.reconstruction.RandomConvDistance.__init__", lambda self, **k: None)
    plain = settings("+model@teacher=7b", f"+stage@stages.{stage}={stage}", f"model={model}")
    _, stages, *_ = train.build(plain)
    assert stages


def test_optimizers_build_with_their_rates():
    weights = [torch.nn.Parameter(torch.ones(2))]
    for name in GROUPS["optim"]:
        recipe = config.build(settings(f"+optim@optim={name}")["optim"])
        assert recipe(weights).param_groups[0]["lr"] == recipe.keywords["lr"]


BASE = "stages.base.objective"


@pytest.mark.parametrize(
    ("place", "key", "near"),
    [
        ("run", "sede", "seed"),
        ("model.trunk", "widht", "width"),
        ("model.trunk.window", "areas", "area"),
        ("model.trunk.rope", "dims", "dim"),
        ("vae", "chanels", "channels"),
        ("discriminator", "tap", "taps"),
        ("prompts", "token", "tokens"),
        ("stages.base", "iteration", "iterations"),
        ("stages.base.feed", "worker", "workers"),
        (BASE, "lok", "loc"),
        (f"{BASE}.optim", "weight_decai", "weight_decay"),
        (f"{BASE}.schedule", "warm_up", "warmup"),
        (f"{BASE}.prompt_odds", "dropuot", "dropout"),
        (f"{BASE}.condition_noise", "limits", "limit"),
        ("stages.apt.objective.terms.l1", "weigth", "weight"),
        ("stages.vae.objective.critic", "widht", "width"),
        ("track", "evry", "every"),
    ],
)
def test_unknown_keys_are_named_with_their_place_and_the_near_match(place, key, near):
    plain = settings("+experiment=debug")
    node = functools.reduce(dict.__getitem__, place.split("."), plain)
    node[key] = 1
    with pytest.raises(UserError) as caught:
        train.build(plain)
    message = str(caught.value)
    assert f"{place} has an unknown key {key!r}" in message
    assert f"did you mean {near!r}?" in message


@pytest.mark.parametrize(
    ("place", "right", "wrong", "named"),
    [
        ("stages", "vae", "vea", "stages.vea has no _target_"),
        ("stages.vae", "_target_", "_traget_", "stages.vae has no _target_"),
        ("stages.vae.objective.perceptual", "_target_", "target", "unknown key 'target'"),
        ("stages.apt.objective.terms", "features", "featurs", "terms.featurs has no _target_"),
        ("stages.apt.objective.terms.l1.loss", "_target_", "_targt_", "terms.l1.loss has an unknown key"),
        ("run", "_target_", "_target", "'run' is not a part"),
    ],
)
def test_misspelt_names_of_parts_are_named_before_anything_runs(place, right, wrong, named):
    plain = settings("+experiment=debug")
    node = functools.reduce(dict.__getitem__, place.split("."), plain)
    value = node.pop(right)
    node[wrong] = value if right == "_target_" else {"weight": 1.0}
    with pytest.raises(UserError, match=named):
        train.build(plain)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("run.threads=two", "run.threads is 'two': use a whole number or null"),
        ("data.shapes.0.frames=five", "frames is 'five': use a whole number"),
        ("data.shapes=3", "data.shapes is 3"),
        ("parallel.timeout=abc", "parallel.timeout is 'abc'"),
        ("parallel.sync=null", "parallel.sync is None: use one of"),
        ("track.every=true", "track.every is True: use a whole number"),
        ("model.trunk.layers=1.5", "trunk.layers is 1.5: use a whole number"),
        ("stages.vae.objective.kl=x", "objective.kl is 'x': use a number"),
        ("stages.vae.objective.optim.lr=fast", "optim.lr is 'fast': use a number"),
        ("run.dir=", "run.dir is empty"),
        ("stages.base.feed.workers=-1", "feed.workers is -1"),
        ("stages.base.feed.pool=0", "feed.pool is 0"),
    ],
)
def test_values_of_a_wrong_kind_are_named_before_anything_runs(override, named):
    with pytest.raises(UserError) as caught:
        train.build(settings("+experiment=debug", override))
    assert named in str(caught.value)


def test_a_part_that_every_run_needs_is_missed():
    plain = settings("+experiment=debug")
    plain["rnu"] = plain.pop("run")
    with pytest.raises(UserError, match="the part 'run' is missing"):
        train.build(plain)


def test_what_stands_under_stages_must_be_stages():
    with pytest.raises(UserError, match=r"stages\.base is no stage"):
        train.build(settings("+stages.base.iterations=3"))


def test_values_from_a_fixed_list_are_checked():
    for place, choices in (("vae", "'codec', 'overlap', 'random'"), ("base", "'random', 'copy'")):
        plain = settings("+experiment=debug")
        plain["stages"][place]["objective"]["start"] = "coppy"
        with pytest.raises(UserError, match=rf"stages\.{place}\.objective\.start is 'coppy': use one of {choices}"):
            train.build(plain)


def test_a_key_unlike_any_other_gets_the_list_of_keys():
    with pytest.raises(UserError, match=r"it takes: loss, weight"):
        config.build({"_target_": "seedvr2.objectives.adversarial.Term", "zzz": 1})


def test_keys_and_groups_that_hydra_does_not_know_give_one_sentence():
    for override, named in (
        ("run.sede=1", r"there is no key 'run\.sede': check its spelling, or add it with \+run\.sede=1"),
        ("modle=tiny", "modle"),
        ("model=huge", r"'model/huge'.*3b 7b debug tiny$"),
        ("+experiment=nothing", "nothing"),
        ("a=b=c", "a"),
        ("run.seed=[", r"\["),
    ):
        with pytest.raises(UserError, match=named) as caught:
            settings(override)
        assert "\n" not in str(caught.value)


def test_missing_values_are_named():
    with pytest.raises(UserError, match=r"run\.dir"):
        config.plain(config.load("train"))
    with pytest.raises(UserError, match=r"experiment=debug"):
        train.build(settings())
    with pytest.raises(UserError, match=r"config lacks the key 'loss' that Term needs"):
        config.build({"_target_": "seedvr2.objectives.adversarial.Term", "weight": 1.0})


def test_unknown_top_level_keys_are_named():
    with pytest.raises(UserError, match="'extra'"):
        train.build(settings("+experiment=debug", "+extra=1"))


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "torch.load",
        "seedvr2evil.run",
        "seedvr2.io.files.os.system",
        "seedvr2.io.files.shutil.rmtree",
        "torch.optim.adamw.torch.load",
        "seedvr2.errors.sys",
        "seedvr2.models.released.RELEASED",
        "seedvr2.models.dit.NoSuchThing",
        "seedvr2.nothing.Thing",
        "",
        5,
    ],
)
def test_targets_from_elsewhere_are_refused(target):
    with pytest.raises(UserError, match="_target_"):
        config.build({"_target_": target})


def test_recipes_wait_and_remember_their_config():
    node = {"_target_": "seedvr2.models.prompts.Prompts", "_partial_": True, "tokens": 3}
    recipe = config.build(node)
    assert recipe.config == node
    assert recipe(dim=2)("null").shape == (3, 2)
    built = config.build({"a": [node, 1], "b": "text"})
    assert isinstance(built["a"][0], functools.partial)
    assert built["a"][1:] == [1]
    assert built["b"] == "text"


def test_a_folder_of_the_user_adds_options(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nrun: {seed: 77}\n")
    assert config.plain(config.load("train", ["run.dir=x", "+experiment=mine"], extra=tmp_path))["run"]["seed"] == 77


def test_a_misspelt_override_ends_the_command_with_one_line_and_code_2(capsys):
    for override in ("run.sede=1", "model=hgue"):
        with pytest.raises(SystemExit) as caught:
            train.main(["+experiment=debug", "run.dir=x", override])
        assert caught.value.code == 2
        stderr = capsys.readouterr().err
        assert stderr.startswith("seedvr2.train: configuration: ")
        assert stderr.count("\n") == 1


def test_two_stages_of_one_name_are_refused():
    with pytest.raises(UserError, match="'vae'"):
        train.build(settings("+experiment=debug", "stages.base.name=vae"))


def test_the_configuration_can_be_printed(capsys):
    train.main(["+experiment=debug", "run.dir=x", "--cfg", "job"])
    assert "distillation_chain" in capsys.readouterr().out
    assert list(itertools.islice(parts(settings("+experiment=debug")), 1))


@pytest.mark.parametrize("rule", GROUPS["window"])
def test_every_window_rule_can_be_chosen_by_name(rule):
    settings = config.plain(
        config.load("train", ["run.dir=x", "data=procedural", "model=7b", f"window@model.trunk.window={rule}"])
    )
    trunk = config.build(settings["model"]).keywords["trunk"]
    function = "adaptive" if rule in ("tiny", "debug") else rule  # of models of toy size
    assert trunk.keywords["window"].func.__name__ == f"{function}_window"
    assert all(side >= 1 for side in trunk.keywords["window"]((6, 45, 80)))
