"""The kernel for norm and SiLU: right, made for several GPUs, and left alone where it fails."""

import contextlib

import pytest
import torch
import torch.nn.functional as F

from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.inference import InferenceVAE, fused, norm

kernels = pytest.importorskip("seedvr2.models.vae.inference.kernels", reason="Triton does not exist for this system")
backends, compiler = map(pytest.importorskip, ("triton.backends.compiler", "triton.compiler"))
interpreter = pytest.importorskip("triton.runtime.interpreter")

CPU = torch.device("cpu")
KINDS = pytest.mark.parametrize(
    ("channels", "dtype"),
    [(channels, dtype) for channels in (1, 12, 128) for dtype in (torch.float32, torch.bfloat16, torch.float16)],
)


@pytest.fixture
def interpreted(monkeypatch):
    """The kernel, run by Triton's interpreter on a CPU."""
    monkeypatch.setattr(kernels, "_norm_silu", interpreter.InterpretedFunction(kernels._norm_silu.fn))
    monkeypatch.setattr(torch.accelerator, "device_index", contextlib.nullcontext)
    return kernels.norm_silu


def assert_right(kernel, channels, dtype, device):
    frames = torch.randn(3, 9, 7, channels).to(device, dtype).movedim(-1, 1)
    into = torch.full((4, 5, 7, channels), 7.0).to(device, dtype).movedim(-1, 1)
    mean, scale, bias = torch.randn(2, channels, device=device), torch.randn(2, channels), torch.randn(channels)
    mean, scale, bias = (x.to(device) for x in (mean, scale, bias))
    before, strip = frames.clone(), frames[1:, :, 2:7]
    kernel(strip, mean, scale, bias, into[1:3])
    normal = (strip - mean[..., None, None]) * scale[..., None, None] + bias[:, None, None]
    torch.testing.assert_close(into[1:3], F.silu(normal).to(dtype))
    assert torch.equal(frames, before)
    assert (into[[0, 3]] == 7).all()


@KINDS
def test_the_kernel_is_right_and_touches_nothing_else(interpreted, channels, dtype):
    assert_right(interpreted, channels, dtype, CPU)


@pytest.mark.gpu
@KINDS
def test_a_gpu_has_it_and_it_is_right_there(channels, dtype):
    device = torch.empty(0, device="cuda").device
    assert_right(fused.fused_silu(device, dtype, channels), channels, dtype, device)


@pytest.mark.parametrize(("backend", "arch", "warp"), [("cuda", 80, 32), ("cuda", 90, 32), ("hip", "gfx942", 64)])
def test_it_compiles_for_gpus(backend, arch, warp):
    types = {"frames": "*bf16", "into": "*bf16", **dict.fromkeys(("mean", "scale", "bias"), "*fp32")}
    types |= dict.fromkeys(("pixels", "step", "into_step"), "i32")
    constants = {"CHANNELS": 128, "WIDTH": 128, "PIXELS": 32}
    source = compiler.ASTSource(kernels._norm_silu, {**types, **dict.fromkeys(constants, "constexpr")}, constants)
    made = compiler.compile(source, target=backends.GPUTarget(backend, arch, warp)).asm
    assert made["cubin" if backend == "cuda" else "hsaco"]


@pytest.mark.parametrize("groups", [1, 4])
def test_results_of_an_autoencoder_are_the_same_with_it(interpreted, monkeypatch, groups):
    calls = []

    def counted(*tensors):
        calls.append(tensors)
        interpreted(*tensors)

    torch.manual_seed(0)
    vae = VideoVAE([8, 8, 16, 16], 1, groups=groups).eval()
    x, z = torch.rand(1, 3, 5, 16, 24), torch.randn(1, 16, 2, 2, 3)
    fast = InferenceVAE(vae)
    means, frames = fast.encode(x).mean, fast.decode(z)
    monkeypatch.setattr(norm, "fused_silu", lambda device, dtype, channels: counted)
    torch.testing.assert_close(fast.encode(x).mean, means, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fast.decode(z), frames, rtol=1e-5, atol=1e-5)
    assert calls


@KINDS
def test_a_kernel_that_is_right_is_used(interpreted, channels, dtype):
    assert fused._tested(CPU, dtype, channels) is interpreted


def test_a_kernel_that_is_wrong_is_not_used(interpreted, monkeypatch):
    def wrong(frames, mean, scale, bias, into):
        interpreted(frames, mean, scale, bias, into)
        into[-1, -1, -1, -1] += 1

    monkeypatch.setattr(kernels, "norm_silu", wrong)
    assert fused._tested(CPU, torch.float32, 12) is None


def test_a_kernel_that_cannot_be_made_is_not_used():
    assert fused._tested(CPU, torch.float32, 12) is None  # Triton has no such device
    assert fused.fused_silu(CPU, torch.float32, 12) is None


def test_lack_of_memory_says_nothing_about_a_kernel(monkeypatch):
    def hungry(*_):
        raise torch.OutOfMemoryError("x")

    monkeypatch.setattr(kernels, "norm_silu", hungry)
    with pytest.raises(torch.OutOfMemoryError):
        fused._tested(CPU, torch.float32, 12)
