"""The kernel for norm and SiLU: right, made for several GPUs, and left alone where it fails or does not pay."""

import contextlib
import time

import pytest
import torch
import torch.nn.functional as F

from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.inference import InferenceVAE, fused, norm

kernels = pytest.importorskip("seedvr2.models.vae.inference.kernels", reason="Triton does not exist for this system")
backends, compiler = map(pytest.importorskip, ("triton.backends.compiler", "triton.compiler"))
interpreter = pytest.importorskip("triton.runtime.interpreter")

CPU = torch.device("cpu")


@pytest.fixture
def interpreted(monkeypatch):
    """The kernel, run by Triton's interpreter on a CPU."""
    monkeypatch.setattr(kernels, "_scaled_silu", interpreter.InterpretedFunction(kernels._scaled_silu.fn))
    monkeypatch.setattr(torch.accelerator, "device_index", contextlib.nullcontext)
    return kernels.scaled_silu


def operands(channels, dtype=torch.float32, device=CPU):
    """Frames and a place for the result, strips of larger ones; factors and offsets."""
    large = torch.randn(3, 9, 7, channels).to(device, dtype).movedim(-1, 1)
    into = torch.full((4, 5, 7, channels), 7.0).to(device, dtype).movedim(-1, 1)
    scale, shift = torch.randn(2, 3, channels).to(device)
    return large[1:, :, 2:7], scale[1:], shift[1:], into


def expected(frames, scale, shift):
    return F.silu(frames * scale[..., None, None] + shift[..., None, None]).to(frames.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("channels", [1, 12, 128])
def test_the_kernel_scales_and_activates_and_touches_nothing_else(channels, dtype, interpreted):
    frames, scale, shift, into = operands(channels, dtype)
    before = frames.clone()
    interpreted(frames, scale, shift, into[1:3])
    torch.testing.assert_close(into[1:3], expected(frames, scale, shift))
    assert torch.equal(frames, before)
    assert (into[0] == 7).all()
    assert (into[3] == 7).all()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("channels", [1, 12, 128])
def test_the_kernel_is_right_on_a_gpu(channels, dtype):
    frames, scale, shift, into = operands(channels, dtype, torch.device("cuda"))
    kernels.scaled_silu(frames, scale, shift, into[1:3])
    torch.testing.assert_close(into[1:3], expected(frames, scale, shift))
    assert (into[0] == 7).all()
    assert (into[3] == 7).all()


@pytest.mark.parametrize(("backend", "arch", "warp"), [("cuda", 80, 32), ("cuda", 90, 32), ("hip", "gfx942", 64)])
def test_the_kernel_compiles_for_gpus(backend, arch, warp):
    numbers = dict.fromkeys(("pixels", "step", "into_step"), "i32")
    types = {"frames": "*bf16", "into": "*bf16", "scale": "*fp32", "shift": "*fp32", **numbers}
    constants = {"CHANNELS": 128, "WIDTH": 128, "PIXELS": 32}
    source = compiler.ASTSource(kernels._scaled_silu, {**types, **dict.fromkeys(constants, "constexpr")}, constants)
    target = backends.GPUTarget(backend, arch, warp)
    made = compiler.compile(source, target=target).asm
    assert made["cubin" if backend == "cuda" else "hsaco"]


def test_results_of_an_autoencoder_are_the_same_with_it(interpreted, monkeypatch):
    calls = []

    def counted(*tensors):
        calls.append(tensors)
        interpreted(*tensors)

    torch.manual_seed(0)
    vae = VideoVAE([8, 8, 16, 16], 1, groups=4).eval()
    x, z = torch.rand(1, 3, 5, 16, 24), torch.randn(1, 16, 2, 2, 3)
    fast = InferenceVAE(vae)
    means, frames = fast.encode(x).mean, fast.decode(z)
    monkeypatch.setattr(norm, "fused_silu", lambda device, dtype: counted)
    torch.testing.assert_close(fast.encode(x).mean, means, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fast.decode(z), frames, rtol=1e-5, atol=1e-5)
    assert calls


@pytest.fixture
def small(monkeypatch):
    """Tests of kernels with small frames."""
    monkeypatch.setattr(fused, "_SHAPE", (2, 8, 8, 16))


def right(frames, scale, shift, into):
    into.copy_(expected(frames, scale, shift))


def test_a_kernel_that_is_slower_does_not_pay(small):
    def slow(*tensors):
        time.sleep(0.1)
        right(*tensors)

    assert not fused._pays(slow, CPU, torch.float32)


def test_a_kernel_that_is_faster_pays(small, monkeypatch):
    monkeypatch.setattr(fused, "shortest", lambda run, device: run() or float(run.__name__ == "apart"))
    assert fused._pays(right, CPU, torch.bfloat16)


def test_a_kernel_that_is_wrong_is_not_used(small, monkeypatch):
    def wrong(frames, scale, shift, into):
        right(frames, scale, shift, into)
        into[-1, -1, -1, -1] += 1

    monkeypatch.setattr(kernels, "scaled_silu", wrong)
    with pytest.raises(AssertionError):
        fused._pays(kernels.scaled_silu, CPU, torch.float32)


def test_there_is_none_where_it_cannot_be_made(monkeypatch):
    assert fused.fused_silu(CPU, torch.float32) is None
    monkeypatch.setattr(fused, "_pays", lambda *_: 1 / 0)
    fused.fused_silu.cache_clear()
    try:
        assert fused.fused_silu(torch.device("cuda"), torch.float32) is None
    finally:
        fused.fused_silu.cache_clear()
