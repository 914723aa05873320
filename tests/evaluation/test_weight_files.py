"""Weight files are looked for in the user's folder first, and optional packages cannot disturb the caller."""

import sys
import warnings

import pytest
import torch

from seedvr2.evaluation.contract import Settings, Unavailable
from seedvr2.evaluation.weights import find_weights, need, quiet


def test_the_given_folder_comes_before_the_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    given = Settings(weights_dir=tmp_path / "mine")
    expected = [tmp_path / "home" / "hub" / "pyiqa" / "net.pth", tmp_path / "mine" / "net.pth"]
    with pytest.raises(Unavailable, match=r"net\.pth is missing: put it from somewhere into"):
        find_weights("net.pth", given, source="somewhere")
    for file in expected:
        file.parent.mkdir(parents=True)
        file.touch()
        assert find_weights("net.pth", given, source="somewhere") == file


def test_a_missing_part_of_a_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "half_a_package.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Unavailable, match=r"half-a-package .*not_there_at_all"):
        need("half_a_package", package="half-a-package")


def test_quiet_swallows_words_and_warnings_and_gives_back_the_random_state(capsys):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with warnings.catch_warnings(record=True) as caught, quiet():
        print("noise")
        warnings.warn("noise", stacklevel=1)
        torch.rand(5)
    assert torch.equal(torch.rand(2), expected)
    assert capsys.readouterr().out == ""
    assert caught == []
    assert sys.stdout.writable()
