"""Properties of degradation on tensors: the same operations as on arrays, with the same parameters."""

import json

import cv2
import numpy as np
import pytest
import torch

from seedvr2 import config
from seedvr2.data.degradation import tensors
from seedvr2.data.degradation.blur import Sharpen
from seedvr2.data.degradation.draw import Draw
from seedvr2.data.degradation.noise import Noise
from seedvr2.data.degradation.pipeline import Degradation
from seedvr2.data.degradation.resize import INTERPOLATIONS, TargetResize, resized
from seedvr2.data.procedural import ProceduralClips

SEEDS = 16
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def preset(name="uav", *, noise=True):
    described = config.plain(config.load(f"degradation/{name}"))["degradation"]
    if not noise:
        described["ops"] = [entry for entry in described["ops"] if not entry["_target_"].endswith("Noise")]
    return config.build(described, "degradation")


def drawn(frames=3, height=64, width=96, seed=0):
    return ProceduralClips().clip(np.random.default_rng(seed), frames, height, width)


def both(degradation, clip, seed, device):
    """The degraded clip from an array and from a tensor, both as arrays; the parameters are checked to be equal."""
    records = [], []
    array = degradation(clip, np.random.default_rng(seed), record=records[0])
    tensor = degradation(torch.from_numpy(clip).to(device), np.random.default_rng(seed), record=records[1])
    assert tensor.device.type == device
    assert tensor.dtype == torch.float32
    assert json.dumps(records[0]) == json.dumps(records[1])
    return array, tensor.cpu().numpy()


def psnr(first, second):
    return -10 * np.log10(max(float(np.mean((first - second) ** 2)), 1e-10))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [1, 7, 13, 21])
@pytest.mark.parametrize("shape", [(33, 40), (8, 64), (1, 1), (2, 3)])
def test_blur_is_that_of_arrays(device, size, shape):
    rng = np.random.default_rng(size)
    clip = rng.random((3, *shape, 3), dtype=np.float32)
    kernels = [kernel / kernel.sum() for kernel in rng.random((3, size, size), dtype=np.float32)]
    expected = np.stack([cv2.filter2D(frame, -1, kernel) for frame, kernel in zip(clip, kernels, strict=True)])
    found = tensors.filtered(torch.from_numpy(clip).to(device), kernels).cpu().numpy()
    assert np.abs(found - expected).max() < 2e-6


@pytest.mark.parametrize("device", DEVICES)
def test_sharpening_is_that_of_arrays(device):
    clip = drawn(2)
    array, tensor = (
        Sharpen()(given, Draw(np.random.default_rng(0), (1, 1))) for given in (clip, torch.from_numpy(clip).to(device))
    )
    assert np.abs(array - clip).max() > 0.1
    # Rounding puts a few pixels on the other side of the threshold.
    assert np.abs(array - tensor.cpu().numpy()).max() < 1e-3


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size", [(30, 23), (90, 80), (17, 31), (60, 20), (70, 20), (44, 46), (15, 92), (1, 1)])
def test_resizing_is_that_of_arrays(device, interpolation, size):
    clip = np.random.default_rng(0).random((2, 60, 46, 3), dtype=np.float32)
    expected = resized(clip, size, interpolation=interpolation)
    found = resized(torch.from_numpy(clip).to(device), size, interpolation=interpolation).cpu().numpy()
    assert np.abs(found - expected).max() < 2e-6


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gray", [0, 1])
@pytest.mark.parametrize("kind", ["gaussian", "poisson", "normal poisson"])
def test_noise_has_the_moments_of_that_of_arrays(device, kind, gray):
    strengths = {"sigma": (5, 25), "scale": (0.5, 2.0), "drift": {"sigma": 8, "scale": 0.5}}
    operation = Noise({kind.split()[-1]: 1}, gray=gray, **strengths, exact_poisson=kind == "poisson")
    clip = np.empty((3, 160, 256, 3), np.float32)
    clip[:] = np.linspace(0, 1, 256, dtype=np.float32)[None, None, :, None]
    clip[2] = np.round(clip[2] * 7) / 7  # few levels, strong noise
    noise, entries = [], []
    for given in (clip, torch.from_numpy(clip).to(device)):
        draw = Draw(np.random.default_rng(4), (1, 1))
        noise.append(np.asarray(operation(given, draw).cpu() if torch.is_tensor(given) else operation(given, draw)))
        noise[-1] = noise[-1] - clip
        entries.append(draw.record)
    assert entries[0] == entries[1]
    assert not np.array_equal(*noise)
    for array, tensor in zip(*noise, strict=True):
        assert np.allclose(tensor[..., 0], tensor[..., 1], atol=1e-6) == bool(gray)
        assert tensor.std() == pytest.approx(array.std(), rel=0.02)
        assert abs(tensor.mean() - array.mean()) < 0.03 * array.std()
        for part in (slice(0, 64), slice(64, 160), slice(160, 256)):
            assert tensor[:, part].std() == pytest.approx(array[:, part].std(), rel=0.04, abs=1e-5)
    independent = np.corrcoef(noise[1][0].ravel(), noise[1][1].ravel())[0, 1]
    assert abs(independent) < 0.02


@pytest.mark.parametrize("device", DEVICES)
def test_equal_seeds_give_equal_tensors(device):
    clip = torch.from_numpy(drawn()).to(device)
    first, again, other = (preset()(clip, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("device", DEVICES)
def test_without_noise_the_whole_preset_gives_the_same_pictures(device):
    degradation, clip = preset(noise=False), drawn()
    for seed in range(SEEDS):
        array, tensor = both(degradation, clip, seed, device)
        clean = cv2.resize(clip[1], (24, 16), interpolation=cv2.INTER_AREA)
        # Rounding before a video codec changes some of its decisions.
        assert psnr(array, tensor) > max(30, psnr(clean, array[1]) + 8)


@pytest.mark.parametrize("device", DEVICES)
def test_with_noise_the_whole_preset_has_the_same_statistics(device):
    degradation = preset()
    means, deviations, errors = [], [], []
    for seed in range(SEEDS):
        clip = drawn(seed=seed)
        clean = np.stack([cv2.resize(frame, (24, 16), interpolation=cv2.INTER_AREA) for frame in clip])
        results = both(degradation, clip, seed, device)
        means.append([result.mean() for result in results])
        deviations.append([result.std() for result in results])
        errors.append([psnr(clean, result) for result in results])
    for values, tolerance in ((means, 0.004), (deviations, 0.006), (errors, 0.4)):
        array, tensor = np.array(values).T
        assert abs(array.mean() - tensor.mean()) < tolerance
        assert np.corrcoef(array, tensor)[0, 1] > 0.97
    assert np.ptp(errors) > 5


@pytest.mark.parametrize("device", DEVICES)
def test_operations_that_only_take_arrays_work_on_tensors_too(device):
    def inverted(clip, draw):
        assert isinstance(clip, np.ndarray)
        return 1 - clip[:, ::-1]

    degradation = Degradation([inverted, TargetResize({"area": 1})])
    array, tensor = both(degradation, drawn(), 0, device)
    assert np.abs(array - tensor).max() <= 1.01 / 255
