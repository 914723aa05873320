"""Every script can be started: what it imports is there, and its description says how it is used."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seedvr2 import config

SCRIPTS = sorted(Path(__file__).parents[1].glob("scripts/*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_imports_and_tells_how_it_is_called(script, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
    spec = importlib.util.spec_from_file_location(f"script_{script.stem}", script)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    assert not hasattr(module, "main") or f"scripts/{script.name}" in module.__doc__


def test_every_command_of_the_tiny_recipe_composes(tmp_path):
    """train_tiny.sh with a stand-in for Python that notes its arguments and leaves what the next command needs."""
    run, said = tmp_path / "run", tmp_path / "said"
    stand_in = tmp_path / "python"
    stand_in.write_text(
        "#!/usr/bin/env bash\n"
        f"printf '%s\\n' \"$(printf '%s\\t' \"$@\")\" >> {said}\n"
        f"mkdir -p {run}/vae/final {run}-decoder/decoder/final; touch {run}/metrics.jsonl {run}-decoder/metrics.jsonl\n"
    )
    stand_in.chmod(0o755)
    command = ["bash", str(SCRIPTS[0].parent / "train_tiny.sh"), str(tmp_path / "data"), str(run)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHON": str(stand_in)})
    trained = []
    for line in said.read_text().splitlines():
        words = line.rstrip("\t").split("\t")
        place = max(number for number, word in enumerate(words) if word == "-m")
        module, overrides = words[place + 1], words[place + 2 :]
        settings = config.plain(config.load(module.removeprefix("seedvr2."), overrides), missing="given later")
        trained.append(list(settings.get("stages", {})))
    assert len(trained) == 6
    assert trained.count([]) == 1, "latents are made once"
    assert trained[-1] == ["vae", "decoder", "base", "distill", "tune", "restored", "faithful", "vivid"]
