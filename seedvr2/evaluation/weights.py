"""Weight files of metrics: found where users put them, never downloaded."""

import contextlib
import importlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import torch

from seedvr2.evaluation.contract import Settings, Unavailable

_CACHES = ("checkpoints", "pyiqa", "clip")  # folders of torch.hub's that torchvision, pyiqa and CLIP download into


def find_weights(name: str, settings: Settings, *, source: str) -> Path:
    """The file called name in weights_dir or in the caches below TORCH_HOME.

    source: where users get it. Raises Unavailable saying where to put it.
    """
    hub = Path(torch.hub.get_dir())
    folders = [hub / cache for cache in _CACHES]
    if settings.weights_dir is not None:
        folders.insert(0, settings.weights_dir)
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    place = f"the folder {settings.weights_dir}" if settings.weights_dir else "a folder given as --weights-dir"
    raise Unavailable(f"the weight file {name} is missing: put it from {source} into {place} (or into {folders[-3]})")


def read_weights(path: Path) -> dict:
    """State of a checkpoint on the CPU; raises Unavailable if the file is none."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds
        raise Unavailable(f"{path} is no readable weight file ({type(error).__name__}): get it again") from error


def load_strictly(network: torch.nn.Module, state: dict, path: Path) -> None:
    """Load a state whose names and shapes must all fit; raises Unavailable naming the file otherwise."""
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise Unavailable(f"{path} does not fit the network ({reason}): use the released file") from error


def need(module: str, *, package: str) -> ModuleType:
    """An optional module; raises Unavailable naming the package if it cannot be imported."""
    try:
        with quiet():
            return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or package
        raise Unavailable(
            f"the package {package} cannot be imported ({missing} is missing): pip install 'seedvr2[metrics]'"
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what optional packages print and warn of away from the user, and their random draws from others."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
        torch.random.fork_rng(devices=[]),
    ):
        warnings.simplefilter("ignore")
        yield
