"""LPIPS, DISTS, NIQE, MUSIQ and CLIP-IQA of single frames, with the packages lpips and pyiqa and files of the user's.

Both packages are optional and pyiqa's licence is non-commercial. Networks are given RGB in [0, 1].
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seedvr2.evaluation.contract import Facts, FrameMean, Measure, Settings, Unavailable, fingerprint, versions
from seedvr2.evaluation.weights import find_weights, load_strictly, need, quiet, read_weights

PYIQA_FILES = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights"
TORCH_FILES = "https://download.pytorch.org/models"
CLIP_FILE = "https://openaipublic.azureedge.net/clip/models/afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762/RN50.pt"
NIQE_BLOCK = 96  # pixels


def lpips(settings: Settings) -> FrameMean:
    """LPIPS v0.1 with AlexNet (Zhang et al. 2018); its linear heads come with the package."""
    package = need("lpips", package="lpips")
    trunk = find_weights("alexnet-owt-7be5be79.pth", settings, source=TORCH_FILES)
    heads = Path(package.__file__).parent / "weights" / "v0.1" / "alex.pth"
    with quiet():
        network = package.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    state = read_weights(trunk)
    sources = {name: f"features.{name.partition('.')[2]}" for name in network.net.state_dict()}  # slice1.0.bias there
    load_strictly(network.net, {name: state[source] for name, source in sources.items() if source in state}, trunk)
    network = network.to(settings.device).eval()
    definition = "LPIPS v0.1, AlexNet, 8-bit RGB scaled to [-1, 1] at full size, mean over frames."
    facts = Facts("lpips", "lower", "gt", definition, versions("lpips", "torch"), _prints(trunk, heads))
    return FrameMean(facts, _compared(lambda a, b: network(a, b, normalize=True), settings))


def dists(settings: Settings) -> FrameMean:
    """DISTS (Ding et al. 2020) of pyiqa."""
    arch = need("pyiqa.archs.dists_arch", package="pyiqa")
    trunk = find_weights("vgg16-397923af.pth", settings, source=TORCH_FILES)
    heads = find_weights("DISTS_weights-f5e65c96.pth", settings, source=PYIQA_FILES)
    if not {"alpha", "beta"} <= set(read_weights(heads)):  # pyiqa would go on with random ones
        raise Unavailable(f"{heads} lacks DISTS's alpha and beta: use the released file")
    network = _with_torch_home(trunk, lambda: arch.DISTS(pretrained_model_path=str(heads)))
    network = network.to(settings.device).eval()
    definition = "DISTS, VGG16, 8-bit RGB at full size, mean over frames."
    facts = Facts("dists", "lower", "gt", definition, versions("pyiqa", "torch"), _prints(trunk, heads))
    return FrameMean(facts, _compared(network, settings))


def musiq(settings: Settings) -> FrameMean:
    """MUSIQ (Ke et al. 2021) trained on KonIQ-10k, 0 to 100, of pyiqa."""
    arch = need("pyiqa.archs.musiq_arch", package="pyiqa")
    path = find_weights("musiq_koniq_ckpt-e95806b9.pth", settings, source=PYIQA_FILES)
    network = _made(lambda: arch.MUSIQ(pretrained_model_path=str(path)), path).to(settings.device).eval()
    definition = "MUSIQ, KonIQ-10k weights, full size and two reductions, 0 to 100, mean over frames."
    facts = Facts("musiq", "higher", "", definition, versions("pyiqa", "torch"), _prints(path))
    return FrameMean(facts, _alone(network, settings))


def clipiqa(settings: Settings) -> FrameMean:
    """CLIP-IQA (Wang et al. 2023) with CLIP's RN50 and the fixed prompts, 0 to 1, of pyiqa."""
    need("clip", package="openai-clip")  # fails where setuptools has lost pkg_resources
    arch = need("pyiqa.archs.clipiqa_arch", package="pyiqa")
    path = find_weights("RN50.pt", settings, source=CLIP_FILE)
    network = _made(lambda: arch.CLIPIQA(backbone=str(path)), path).to(settings.device).eval()
    definition = "CLIP-IQA, RN50, five fixed pairs of prompts, full size, 0 to 1, mean over frames."
    facts = Facts("clipiqa", "higher", "", definition, versions("pyiqa", "openai-clip", "torch"), _prints(path))
    return FrameMean(facts, _alone(network, settings))


def niqe(settings: Settings) -> FrameMean:
    """NIQE (Mittal et al. 2013) of pyiqa; undefined for frames with fewer than two blocks of 96 x 96.

    Its model of pristine pictures, 12 kB, is read from pyiqa's `niqe_modelparameters.mat` or from the file
    `niqe_pris_params.npz` that lies in the package basicsr.
    """
    arch = need("pyiqa.archs.niqe_arch", package="pyiqa")
    path, mean, covariance = _pristine(settings)

    @torch.no_grad()
    def measure(prediction: np.ndarray, _gt: np.ndarray | None, _lq: np.ndarray | None) -> float | None:
        if (prediction.shape[0] // NIQE_BLOCK) * (prediction.shape[1] // NIQE_BLOCK) < 2:
            return None
        return float(arch.calculate_niqe(_unit(prediction, settings), mu_pris_param=mean, cov_pris_param=covariance))

    definition = "NIQE, luma (YIQ) rounded to 8 bits, blocks of 96x96, no border crop, mean over frames."
    facts = Facts("niqe", "lower", "", definition, versions("pyiqa", "scipy"), _prints(path))
    return FrameMean(facts, measure)


def _pristine(settings: Settings) -> tuple[Path, Tensor, Tensor]:
    """File, mean (36,) and covariance (36, 36) of the features of pristine pictures."""
    try:
        path, read, name = find_weights("niqe_pris_params.npz", settings, source=""), np.load, "pris_param"
    except Unavailable:
        source = f"{PYIQA_FILES} (or niqe_pris_params.npz out of basicsr/metrics of the package basicsr)"
        path, name = find_weights("niqe_modelparameters.mat", settings, source=source), "prisparam"
        read = need("scipy.io", package="scipy").loadmat
    try:
        held = read(path)
        return path, *(torch.from_numpy(held[f"{part}_{name}"]).double().squeeze(0) for part in ("mu", "cov"))
    except (ValueError, KeyError, OSError) as error:
        raise Unavailable(f"{path} holds no parameters of NIQE: get the released file again") from error


def _with_torch_home(trunk: Path, make: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """What make() builds while torchvision finds trunk as its own download."""
    before, folder_before = os.environ.get("TORCH_HOME"), torch.hub.get_dir()
    if Path(folder_before, "checkpoints") == trunk.parent:
        return _made(make, trunk)
    with tempfile.TemporaryDirectory() as home:
        cache = Path(home, "hub", "checkpoints")
        cache.mkdir(parents=True)
        (cache / trunk.name).symlink_to(trunk.resolve())
        os.environ["TORCH_HOME"] = home
        try:
            return _made(make, trunk)
        finally:
            del os.environ["TORCH_HOME"]
            if before is not None:
                os.environ["TORCH_HOME"] = before


def _made(make: Callable[[], torch.nn.Module], path: Path) -> torch.nn.Module:
    """What make() builds out of the file path; raises Unavailable naming it if the package cannot read it."""
    try:
        with quiet():
            return make()
    except Exception as error:  # pyiqa and torch raise many kinds
        raise Unavailable(f"pyiqa cannot use {path} ({type(error).__name__}): get the released file again") from error


def _compared(network: Callable[[Tensor, Tensor], Tensor], settings: Settings) -> Measure:
    """A measure out of a network of two pictures (1, 3, H, W)."""

    @torch.no_grad()
    def measure(prediction: np.ndarray, gt: np.ndarray, _lq: np.ndarray | None) -> float:
        return float(network(_unit(prediction, settings), _unit(gt, settings)))

    return measure


def _alone(network: Callable[[Tensor], Tensor], settings: Settings) -> Measure:
    """A measure out of a network of one picture (1, 3, H, W)."""

    @torch.no_grad()
    def measure(prediction: np.ndarray, _gt: np.ndarray | None, _lq: np.ndarray | None) -> float:
        return float(network(_unit(prediction, settings)))

    return measure


def _unit(frame: np.ndarray, settings: Settings) -> Tensor:
    """uint8 (H, W, 3) -> float32 (1, 3, H, W) in [0, 1]."""
    picture = torch.from_numpy(np.ascontiguousarray(frame)).to(settings.device)
    return picture.permute(2, 0, 1)[None].float() / 255


def _prints(*paths: Path) -> str:
    return ", ".join(fingerprint(path) for path in paths)
