"""Learned metrics run with weight files of the released shapes (random here), and say what is missing."""

import os

import cv2
import numpy as np
import pytest
import torch

from seedvr2.evaluation import perceptual
from seedvr2.evaluation.contract import Clip, Settings, Unavailable

pytest.importorskip("pyiqa")
pytest.importorskip("lpips")

FILES = {
    "lpips": ["alexnet-owt-7be5be79.pth"],
    "dists": ["vgg16-397923af.pth", "DISTS_weights-f5e65c96.pth"],
    "niqe": ["niqe_pris_params.npz"],
    "musiq": ["musiq_koniq_ckpt-e95806b9.pth"],
    "clipiqa": ["RN50.pt"],
}


def unfilled(network):
    """State with large matrices all of one value, which makes a small file; the others are as they were made."""
    state = network.state_dict()
    return {k: v.flatten()[0].clone().expand(v.shape) if v.numel() > 2e7 else v for k, v in state.items()}


class Node(torch.nn.Module):
    """A bare tree of tensors."""

    def forward(self, x: torch.Tensor):
        return x


def archive(state, path):
    """Write a state as CLIP is released: as a TorchScript archive."""
    root = Node()
    for name, value in state.items():
        *path_parts, leaf = name.split(".")
        node = root
        for part in path_parts:
            if part not in dict(node.named_children()):
                node.add_module(part, Node())
            node = dict(node.named_children())[part]
        node.register_buffer(leaf, value)
    torch.jit.script(root).save(str(path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One random file per name."""
    from pyiqa.archs.clip_model import CLIP
    from pyiqa.archs.musiq_arch import MUSIQ
    from torchvision.models import alexnet, vgg16

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save({k: v for k, v in alexnet().state_dict().items() if "features" in k}, folder / FILES["lpips"][0])
    torch.save(unfilled(vgg16(init_weights=False)), folder / FILES["dists"][0])
    weights = {"alpha": torch.rand(1, 1475, 1, 1), "beta": torch.rand(1, 1475, 1, 1)}
    torch.save(weights, folder / FILES["dists"][1])
    torch.save(MUSIQ(pretrained=False).state_dict(), folder / FILES["musiq"][0])
    network = CLIP(1024, 224, (3, 4, 6, 3), 64, None, 77, 49408, 512, 8, 12)
    state = {name: value.half() if value.is_floating_point() else value for name, value in unfilled(network).items()}
    archive(state, folder / "RN50.pt")
    spread = np.random.default_rng(0).normal(0, 1, (36, 36))
    pristine = {"mu_pris_param": np.ones((1, 36)), "cov_pris_param": spread @ spread.T}
    np.savez(folder / "niqe_pris_params.npz", **pristine)
    return folder


@pytest.fixture(scope="module")
def frame():
    """Smooth detail, uint8 (200, 224, 3)."""
    noise = np.random.default_rng(0).normal(0, 1, (200, 224, 3))
    layers = [cv2.GaussianBlur(noise, None, sigma) * sigma for sigma in (1.2, 5)]
    return np.clip(128 + 45 * sum(layers) / sum(layers).std(), 0, 255).astype(np.uint8)


def value(metric, *frames, gt=None):
    metric.start(Clip("clip", len(frames), *frames[0].shape[:2]))
    for frame in frames:
        metric.add(frame, gt, None)
    return metric.result()


@pytest.mark.parametrize("name", FILES)
def test_each_metric_scores_with_files_of_the_released_shape(name, folder, frame, capsys):
    before = dict(os.environ)
    metric = getattr(perceptual, name)(Settings(weights_dir=folder))
    assert dict(os.environ) == before
    other = cv2.GaussianBlur(frame, None, 2)
    single = [value(metric, each, gt=frame) for each in (frame, other)]
    assert all(np.isfinite(single))
    assert single[0] != single[1]
    assert value(metric, frame, other, gt=frame) == pytest.approx(np.mean(single))
    assert metric.facts.name == name
    assert metric.facts.needs == ("gt" if name in ("lpips", "dists") else "")
    assert all(file in metric.facts.weights for file in FILES[name])
    assert capsys.readouterr().out == ""
    if metric.facts.needs == "gt":
        assert single[0] == pytest.approx(0, abs=1e-4)
        assert single[1] > 1e-3


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_with_its_place_and_nothing_is_downloaded(name, tmp_path, monkeypatch):
    def fail(*_arguments, **_options):
        raise AssertionError("a download was tried")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    expected = "niqe_modelparameters.mat" if name == "niqe" else FILES[name][0]
    with pytest.raises(Unavailable, match=expected) as caught:
        getattr(perceptual, name)(Settings(weights_dir=tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert "http" in str(caught.value)


def test_files_below_torch_home_are_found(folder, tmp_path, monkeypatch):
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / FILES["lpips"][0]).symlink_to(folder / FILES["lpips"][0])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert perceptual.lpips(Settings()).facts.name == "lpips"


@pytest.mark.parametrize("name", FILES)
def test_a_torn_file_is_named(name, folder, tmp_path):
    for file in FILES[name]:
        (tmp_path / file).symlink_to(folder / file)
    torn = tmp_path / FILES[name][-1]
    torn.unlink()
    torn.write_bytes(b"half a file")
    with pytest.raises(Unavailable, match=torn.name):
        getattr(perceptual, name)(Settings(weights_dir=tmp_path))


def test_niqe_is_undefined_for_fewer_than_two_blocks(folder, frame):
    metric = perceptual.niqe(Settings(weights_dir=folder))
    assert value(metric, frame[:191, :191]) is None
    assert value(metric, frame[:96, :192]) > 0


def test_niqe_reads_the_file_of_pyiqa_too(folder, frame, tmp_path):
    savemat = pytest.importorskip("scipy.io").savemat
    held = np.load(folder / "niqe_pris_params.npz")
    content = {"mu_prisparam": held["mu_pris_param"], "cov_prisparam": held["cov_pris_param"]}
    savemat(tmp_path / "niqe_modelparameters.mat", content)
    values = [value(perceptual.niqe(Settings(weights_dir=place)), frame) for place in (folder, tmp_path)]
    assert values[0] == pytest.approx(values[1])


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lpips", None)
    with pytest.raises(Unavailable, match=r"package lpips.*pip install"):
        perceptual.lpips(Settings())
