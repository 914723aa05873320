import pytest
import yaml

from seedvr2.errors import UserError
from seedvr2.restore.stages import finished_stages, trained_steps


def make(run, *stages, order=None):
    """A run with these finished stages; `order`: names in its configuration."""
    for stage in stages:
        (run / stage / "final").mkdir(parents=True)
    if order is not None:
        settings = {"stages": {f"key{index}": {"name": name} for index, name in enumerate(order)}}
        (run / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return run


def names(run):
    return [final.parent.name for final in finished_stages(run)]


def test_without_a_configuration_the_pipeline_of_the_paper_gives_the_order(tmp_path):
    stages = ["vae", "base", "distill_64to32", "distill_32to16", "distill_8to4", "distill_2to1", "apt"]
    assert names(make(tmp_path, *reversed(stages))) == stages


def test_the_configuration_gives_the_order(tmp_path):
    order = ["warm", "sr", "halve", "sr_large", "base"]
    run = make(tmp_path, "base", "sr_large", "halve_8to4", "halve_16to8", "sr", "warm", "abandoned", order=order)
    assert names(run) == ["abandoned", "warm", "sr", "halve_16to8", "halve_8to4", "sr_large", "base"]


def test_only_exported_stages_are_finished(tmp_path):
    (tmp_path / "apt" / "checkpoints").mkdir(parents=True)
    (tmp_path / "apt" / ".final.part").mkdir()
    assert names(make(tmp_path, "base")) == ["base"]


@pytest.mark.parametrize("text", ["stages: [", "", "stages: {base: 3}", "model: {}"])
def test_a_damaged_configuration_is_the_users_mistake(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml is damaged"):
        finished_stages(tmp_path)


def test_the_name_of_a_stage_tells_the_steps_of_its_generator():
    assert [trained_steps(name) for name in ("base", "base_large")] == [None, None]
    assert [trained_steps(name) for name in ("distill_64to32", "distill_2to1", "apt", "model")] == [32, 1, 1, 1]
