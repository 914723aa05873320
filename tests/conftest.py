"""Shared by all tests: golden tensors, tiny networks of both families, and no GPU tests without a GPU."""

import copy
import functools
import gc
import io
import json
import lzma
import os
import tempfile
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load

from seedvr2.models.dit import SwinMMDiT, Trunk
from seedvr2.models.layers import GeluMLP, SwiGLU
from seedvr2.models.released import dit_from_released
from seedvr2.models.rope import JointRope, VideoRope
from seedvr2.models.windows import adaptive_window

# The networks here are so small that a second thread only waits; and commands that tests start must round alike.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# What these commands would keep for later runs is theirs alone.
CACHE = tempfile.TemporaryDirectory()
os.environ["XDG_CACHE_HOME"] = CACHE.name
# What must be equal to 1e-5 must be so on a GPU.
torch.backends.cudnn.allow_tf32 = False

ASSETS = Path(__file__).parent / "assets"


def pytest_collection_modifyitems(config, items):
    """Deselect what is marked `gpu` where there is no CUDA device; files that take long, those of ranks and of whole
    commands, come first, so that all processes end at about the same time.
    """
    items.sort(key=lambda item: (item.path.parent.name != "parallel", len(item.path.parts)))
    if torch.cuda.is_available():
        return
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if needing:
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]


def pytest_collection_finish():
    """Spare every later collection of garbage what has been imported and collected by now: millions of objects."""
    gc.collect()
    gc.freeze()


READ = OmegaConf.load


@functools.cache
def parsed(text: str):
    """A YAML file's content; hundreds of tests compose the same ones."""
    return READ(io.StringIO(text))


OmegaConf.load = lambda file: copy.deepcopy(parsed(file.read())) if hasattr(file, "read") else READ(file)


@functools.lru_cache
def read_golden(name: str) -> dict[str, torch.Tensor]:
    """Tensors of a compressed asset; bf16 ones are exact copies of fp32 values."""
    tensors = load(lzma.decompress((ASSETS / f"{name}.safetensors.xz").read_bytes()))
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


@pytest.fixture(scope="session")
def golden():
    """Function name -> tensors of `assets/<name>.safetensors.xz`."""
    return read_golden


@pytest.fixture(scope="session")
def facts():
    """Function name -> content of `assets/<name>.json`."""
    return lambda name: json.loads((ASSETS / f"{name}.json").read_text())


@pytest.fixture(scope="session")
def golden_dit(facts):
    """Function family (3b, 7b) -> the tiny generator of the golden data, not to be changed."""

    @functools.lru_cache
    def make(family: str) -> SwinMMDiT:
        state = {key[3:]: value for key, value in read_golden(f"dit_{family}_tiny").items() if key.startswith("sd.")}
        return dit_from_released(facts("dit_tiny_configs")[family], state).eval().requires_grad_(False)

    return make


def randomize(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Give every parameter noise of its own, so that nothing is hidden by a zero or a one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            fan = parameter.shape[-1] if parameter.ndim > 1 else 25
            parameter.add_(torch.randn(parameter.shape, generator=generator) / fan**0.5)
    return network


@pytest.fixture(scope="session")
def make_trunk():
    """Function family, changes -> a small trunk with several windows already at 8 x 8 latent pixels."""

    def make(family: str = "3b", **changes) -> Trunk:
        joint = family == "3b"
        sizes = {"width": 32, "heads": 2, "head_dim": 16, "layers": 3, "text_dim": 8}
        parts = {
            "separate_layers": 1 if joint else 3,
            "rope": JointRope(16) if joint else VideoRope(12),
            "mlp": SwiGLU if joint else functools.partial(GeluMLP, expand=2),
            "window": functools.partial(adaptive_window, area=16),
            "text_modulated_last": not joint,
        }
        return Trunk(**{**sizes, **parts, **changes})

    return make


@pytest.fixture(scope="session")
def make_generator(make_trunk):
    """Function family, seed, trunk changes -> a small generator with random weights."""

    def make(family: str = "3b", seed: int = 0, **changes) -> SwinMMDiT:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = SwinMMDiT(trunk=lambda: make_trunk(family, **changes), output_norm=family == "3b")
        return randomize(network, seed)

    return make


@pytest.fixture(scope="session")
def make_inputs():
    """Function sizes, text lengths, seed -> random arguments of a generator with text_dim 8."""

    def make(sizes, lengths, seed: int = 0, text_dim: int = 8):
        generator = torch.Generator().manual_seed(seed)
        rows = sum(t * h * w for t, h, w in sizes)
        vid = torch.randn(rows, 33, generator=generator)
        txt = torch.randn(sum(lengths), text_dim, generator=generator)
        return vid, txt, list(sizes), list(lengths), torch.rand(len(sizes), generator=generator) * 1000

    return make
