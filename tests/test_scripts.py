"""Every script can be started: what it imports is there, and its description says how it is used."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seedvr2 import config

SCRIPTS = sorted(Path(__file__).parents[1].glob("scripts/*.py"))


@pytest.fixture
def load(monkeypatch):
    """Function path of a script -> its module."""

    def loaded(script: Path):
        monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
        spec = importlib.util.spec_from_file_location(f"script_{script.stem}", script)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return loaded


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_imports_and_tells_how_it_is_called(script, load):
    module = load(script)
    assert not hasattr(module, "main") or f"scripts/{script.name}" in module.__doc__


def commands(tmp_path: Path, script: str, *arguments: str, more: str = "", code: int = 0) -> list[list[str]]:
    """What a shell script, which ends with `code`, tells Python; the stand-in for Python also does `more`."""
    said, stand_in = tmp_path / "said", tmp_path / "python"
    noted = f"printf '%s\\n' \"$(printf '%s\\t' \"$@\")\" >> {said}"
    stand_in.write_text(f"#!/usr/bin/env bash\n{noted}\n{more}\n")
    stand_in.chmod(0o755)
    command = ["bash", str(SCRIPTS[0].parent / script), *arguments]
    done = subprocess.run(command, check=False, env={**os.environ, "PYTHON": str(stand_in)})
    assert done.returncode == code
    return [line.rstrip("\t").split("\t") for line in said.read_text().splitlines()]


def test_nothing_is_measured_without_a_gpu(tmp_path):
    assert len(commands(tmp_path, "measure_gpu.sh", more="exit 1", code=2)) == 1


@pytest.mark.parametrize("code", [0, 1])
def test_every_step_on_a_gpu_can_be_called_and_is_even_if_one_fails(load, monkeypatch, tmp_path, code):
    failing = f'[ "$1" = -c ] || exit {code}'
    _, tests, vae, *films = commands(tmp_path, "measure_gpu.sh", str(tmp_path), more=failing, code=code)
    assert tests == ["-m", "pytest", "-q", "-m", "gpu"]
    monkeypatch.setattr(sys, "argv", vae)
    assert load(SCRIPTS[0].parent / "bench_vae.py").arguments().out.parent == tmp_path
    bench = load(SCRIPTS[0].parent / "bench_infer.py")
    asked = [bench.parser().parse_args(words[1:]) for words in films]
    assert [options.models for options in asked] == [["3b"], ["7b"]]
    for options in asked:
        bench.check(options)
        assert options.output.parent == tmp_path


def test_every_command_of_the_tiny_recipe_composes(tmp_path):
    run, trained = tmp_path / "run", []
    made = f"{run}/vae/final {run}-decoder/decoder/final; touch {run}/metrics.jsonl {run}-decoder/metrics.jsonl"
    for words in commands(tmp_path, "train_tiny.sh", str(tmp_path / "data"), str(run), more=f"mkdir -p {made}"):
        place = max(number for number, word in enumerate(words) if word == "-m")
        module, overrides = words[place + 1], words[place + 2 :]
        settings = config.plain(config.load(module.removeprefix("seedvr2."), overrides), missing="given later")
        trained.append(list(settings.get("stages", {})))
    assert len(trained) == 6
    assert trained.count([]) == 1, "latents are made once"
    assert trained[-1] == ["vae", "decoder", "base", "distill", "tune", "restored", "faithful", "vivid"]
