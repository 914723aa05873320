"""The inference path of the VAE gives what the plain one gives, for all ways, tilings, chunks and starts of a clip."""

import json
import weakref
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seedvr2.models.codec import LatentCodec
from seedvr2.models.released_vae import vae_from_released
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.causal import Carry
from seedvr2.models.vae.inference import LADDER, InferenceVAE, Tiling
from seedvr2.models.vae.inference.ways import WAYS, Kernel, usual_way
from seedvr2.models.vae.reach import look_back
from seedvr2.tracing import standing_for

GOLDEN = Path(__file__).parents[2] / "assets" / "vae_small.safetensors"
STRIPS = Tiling(workspace=1)
TILINGS = [*LADDER, STRIPS, Tiling(workspace=1, frames=1), Tiling(workspace=1, frames=3, host=True)]
EXACT = {"atol": 1e-11, "rtol": 0}


def rough(vae: VideoVAE) -> VideoVAE:
    """With random values for all that starts as zero, one or an identity."""
    generator = torch.Generator().manual_seed(2)
    for name, weight in vae.named_parameters():
        if weight.ndim == 1 or "upscale" in name:
            nn.init.normal_(weight, std=0.2, generator=generator)
    for module in vae.modules():
        if isinstance(module, nn.GroupNorm):
            nn.init.normal_(module.weight, mean=1, std=0.2, generator=generator)
    return vae.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def vae() -> VideoVAE:
    torch.manual_seed(0)
    return rough(VideoVAE([8, 16, 32, 32], 1, groups=4, latent_channels=4).double())


@pytest.fixture(scope="module")
def golden() -> tuple[VideoVAE, dict[str, torch.Tensor]]:
    tensors = load_file(GOLDEN)
    with safe_open(GOLDEN, "pt") as file:
        config = json.loads(file.metadata()["config"])
    weights = {name.removeprefix("sd."): tensor for name, tensor in tensors.items() if name.startswith("sd.")}
    return vae_from_released(config, weights).requires_grad_(False), tensors


def clip(frames: int, height: int = 24, width: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.rand(1, 3, frames, height, width, generator=generator, dtype=torch.float64) * 2 - 1


def latent(frames: int, height: int = 3, width: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randn(1, 4, frames, height, width, generator=generator, dtype=torch.float64)


def assert_same(fast: InferenceVAE, vae: VideoVAE, x: torch.Tensor, z: torch.Tensor) -> None:
    ours, plain = fast.encode(x), vae.encode(x)
    torch.testing.assert_close(ours.mean, plain.mean, **EXACT)
    torch.testing.assert_close(ours.logvar, plain.logvar, **EXACT)
    torch.testing.assert_close(fast.decode(z), vae.decode(z), **EXACT)


@pytest.mark.parametrize("size", [(24, 16), (8, 8), (8, 40)])
@pytest.mark.parametrize("frames", [1, 5, 13])
def test_whole_clips(vae, frames, size):
    fast = InferenceVAE(vae)
    height, width = size
    z = latent((frames - 1) // 4 + 1, height // 8, width // 8)
    assert_same(fast, vae, clip(frames, height, width), z)


@pytest.mark.parametrize("tiling", TILINGS)
def test_tilings_change_no_result(vae, tiling):
    assert_same(InferenceVAE(vae, tiling), vae, clip(9), latent(3))


@pytest.mark.parametrize("way", WAYS)
def test_ways_change_no_result(vae, way, monkeypatch):
    monkeypatch.setattr("seedvr2.models.vae.inference.strips.usual_way", lambda weight: way)
    assert_same(InferenceVAE(vae), vae, clip(9), latent(3))


def test_norms_are_the_same_on_devices_that_cannot_mix_types(vae, monkeypatch):
    monkeypatch.setattr("seedvr2.models.vae.inference.norm.kind_of", lambda device: "other")
    assert_same(InferenceVAE(vae), vae, clip(9), latent(3))


def test_frames_too_large_for_the_norms_of_cuda_are_taken_in_pieces(vae, monkeypatch):
    monkeypatch.setattr("seedvr2.models.vae.inference.norm.kind_of", lambda device: "cuda")
    monkeypatch.setattr("seedvr2.models.vae.inference.norm._ELEMENTS", 700)
    assert_same(InferenceVAE(vae), vae, clip(9), latent(3))


@pytest.mark.gpu
@pytest.mark.parametrize("way", [*WAYS, None])
def test_ways_change_no_result_on_a_gpu(vae, way, monkeypatch):
    if way is not None:
        monkeypatch.setattr("seedvr2.models.vae.inference.strips.usual_way", lambda weight: way)
    there = vae.to("cuda")
    fast, x, z = InferenceVAE(there, ways={} if way is None else None), clip(9).to("cuda"), latent(3).to("cuda")
    try:
        torch.testing.assert_close(fast.encode(x).mean, there.encode(x).mean, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(fast.decode(z), there.decode(z), rtol=1e-5, atol=1e-5)
    finally:
        vae.to("cpu")


def test_measured_ways_change_no_result(vae):
    fast = InferenceVAE(vae, ways={})
    assert_same(fast, vae, clip(5), latent(2))
    assert set(fast.ways.values()) <= set(WAYS)
    assert fast.ways


@pytest.mark.parametrize("chunks", [[5], [1, 4], [1, 1, 1, 1, 1], [2, 1, 2], [3, 2]])
@pytest.mark.parametrize("tiling", [LADDER[0], STRIPS, Tiling(frames=1, host=True)])
def test_carried_chunks_equal_the_whole_clip(vae, chunks, tiling):
    fast = InferenceVAE(vae, tiling)
    x, z = clip(17), latent(5)
    sizes = [4 * count - 3 * (index == 0) for index, count in enumerate(chunks)]
    history = Carry()  # of both
    means = [fast.encode(part, history).mean for part in x.split(sizes, dim=2)]
    frames = [fast.decode(part, history) for part in z.split(chunks, dim=2)]
    torch.testing.assert_close(torch.cat(means, dim=2), vae.encode(x).mean, **EXACT)
    torch.testing.assert_close(torch.cat(frames, dim=2), vae.decode(z), **EXACT)


def test_a_clip_can_go_on_in_smaller_pieces(vae):
    fast = InferenceVAE(vae)
    z, history = latent(4), Carry()
    first = fast.decode(z[:, :, :2], history)
    fast.tiling = LADDER[1]
    frames = torch.cat([first, fast.decode(z[:, :, 2:], history)], dim=2)
    torch.testing.assert_close(frames, vae.decode(z), **EXACT)


def test_the_meta_device_takes_the_way_of_the_device_it_stands_for(vae):
    weight, meta = vae.decoder.conv_in.weight, torch.device("meta")
    with standing_for("cpu"):
        assert usual_way(weight.to(meta)) == usual_way(weight)
        assert Tiling().rows(1 << 20, meta) == Tiling().rows(1 << 20, torch.device("cpu"))
    with standing_for("cuda"):
        assert usual_way(weight.to(meta)) != usual_way(weight)
        assert Tiling().rows(1 << 20, meta) != Tiling().rows(1 << 20, torch.device("cpu"))


@pytest.mark.parametrize("chunk", [1, 2])
def test_a_stream_begun_later_gives_the_very_same_latents(chunk):
    torch.manual_seed(0)
    fast = InferenceVAE(rough(VideoVAE([8, 8, 8, 8], 1, groups=4)))
    later = 4 * chunk
    reach = -(-look_back(fast.encoder) // 4)

    def encoded(x: torch.Tensor) -> torch.Tensor:
        history = Carry()
        parts = [x[:, :, : 4 * chunk + 1], *x[:, :, 4 * chunk + 1 :].split(4 * chunk, dim=2)]
        return torch.cat([fast.encode(part, history).mean for part in parts], dim=2)

    x = clip(4 * (reach + later + 4) + 1, 8, 8).float()
    whole, again = encoded(x), encoded(x[:, :, 4 * later :])
    assert torch.equal(whole[:, :, later + reach :], again[:, :, reach:])


def test_a_codec_takes_it(vae):
    frames = clip(9).squeeze(0).transpose(0, 1)
    plain, fast = (LatentCodec(network, chunk=1) for network in (vae, InferenceVAE(vae)))
    made = fast.encode(frames)
    torch.testing.assert_close(made, plain.encode(frames), **EXACT)
    torch.testing.assert_close(fast.decode(made), plain.decode(made), **EXACT)


def test_images_are_squeezed_as_in_the_release(golden):
    vae, tensors = golden
    z = tensors["image.mean"]
    assert InferenceVAE(vae).decode(z).shape == vae.decode(z).shape == (1, 3, *vae.decode(z).shape[-2:])


@pytest.mark.parametrize("case", ["video9", "clip5", "image"])
def test_single_precision_is_within_1e5_of_the_plain_path(golden, case):
    vae, tensors = golden
    fast, x, z = InferenceVAE(vae), tensors[f"{case}.input"].float(), tensors[f"{case}.mean"]
    torch.testing.assert_close(fast.encode(x).mean, vae.encode(x).mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(fast.decode(z), vae.decode(z), atol=1e-5, rtol=0)


def test_half_precision_is_within_the_error_of_the_release(golden):
    vae, tensors = golden
    fast = InferenceVAE(vae.to(torch.bfloat16))
    try:
        for case in ("video9", "clip5"):
            means = fast.encode(tensors[f"{case}.input"].to(torch.bfloat16)).mean
            frames = fast.decode(tensors[f"{case}.mean"].to(torch.bfloat16))
            for ours, exact in ((means, tensors[f"{case}.mean"]), (frames, tensors[f"{case}.decoded"])):
                assert (ours.float() - exact).norm() < 0.017 * exact.norm()
    finally:
        vae.float()  # the weights are exact in bf16


def test_state_and_names_are_those_of_the_vae(vae):
    state, plain = InferenceVAE(vae).state_dict(), vae.state_dict()
    assert list(state) == list(plain)
    assert all(state[name].data_ptr() == plain[name].data_ptr() for name in plain)


def test_shapes_are_known_on_the_meta_device():
    with torch.device("meta"):
        fast = InferenceVAE(VideoVAE([8, 16, 32, 32], 1, groups=4))
        for tiling in (LADDER[0], LADDER[-1]):
            fast.tiling, history = tiling, Carry()
            assert fast.encode(torch.empty(1, 3, 5, 64, 48), history).mean.shape == (1, 16, 2, 8, 6)
            assert fast.decode(torch.empty(1, 16, 2, 8, 6), history).shape == (1, 3, 5, 64, 48)


class Alive(TorchDispatchMode):
    """Counts the bytes of tensors made within that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and (storage := tensor.untyped_storage())._cdata not in self.sizes:
                self.sizes[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.sizes.pop, storage._cdata)
        self.most = max(self.most, sum(self.sizes.values()))
        return made


def test_each_step_to_smaller_tilings_keeps_less_alive():
    with torch.device("meta"):
        fast, z = InferenceVAE(VideoVAE([16, 32, 64, 64], 1, groups=4)), torch.empty(1, 16, 2, 16, 16)
    found = []
    for tiling in (Tiling(), Tiling(2**19), Tiling(2**19, frames=2), Tiling(2**19, frames=1)):
        fast.tiling, history = tiling, Carry()
        with Alive() as alive:
            fast.decode(z, history)
        found.append(alive.most)
    assert found == sorted(set(found), reverse=True)


def test_strips_hold_no_whole_activation(vae, monkeypatch):
    windows = []
    call = Kernel.__call__
    monkeypatch.setattr(Kernel, "__call__", lambda kernel, window: windows.append(window.shape) or call(kernel, window))
    InferenceVAE(vae, STRIPS).decode(latent(2, 8, 8))
    assert max(shape[2] for shape in windows) == 4  # two rows and their neighbours, of up to 64


@pytest.mark.parametrize(("taps", "products"), [(3, 4), (2, 3)])
def test_pairs_take_fewer_products_for_two_frames(monkeypatch, taps, products):
    made = []
    flat = Kernel._flat
    monkeypatch.setattr(
        Kernel, "_flat", lambda kernel, frames, *more: made.append(len(frames)) or flat(kernel, frames, *more)
    )
    kernel = Kernel(torch.randn(4, 4, taps, 3, 3), torch.zeros(4), way="pairs")
    list(kernel(torch.randn(taps - 1 + 8, 4, 6, 6)))
    assert sum(made) == products * 4
