import contextlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from seedvr2.errors import UserError
from seedvr2.restore import device as device_module
from seedvr2.restore import loading
from seedvr2.restore.device import computes, forget_peak, native_dtype, peak_memory, pick_device
from seedvr2.restore.events import Events
from seedvr2.restore.shot import ShotRestorer

PACKAGE = Path(device_module.__file__).parents[1]


@pytest.mark.parametrize("is_native", [True, False])
def test_half_precision_is_the_default_of_a_cpu_that_multiplies_it(monkeypatch, is_native):
    monkeypatch.setattr(device_module, "multiplies_bfloat16", lambda: is_native)
    assert native_dtype(torch.device("cpu"))[0] == ("bf16" if is_native else "fp32")


@pytest.mark.parametrize(
    ("major", "hip", "expected"), [(9, None, "bf16"), (8, None, "bf16"), (7, None, "fp16"), (7, "6.4", "bf16")]
)
def test_a_gpu_runs_in_bf16_unless_it_would_only_emulate_it(monkeypatch, major, hip, expected):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(major=major))
    monkeypatch.setattr(torch.version, "hip", hip)
    assert native_dtype(torch.device("cuda", 1))[0] == expected


@pytest.mark.parametrize(
    ("lacking", "expected"),
    [((), "bf16"), ((torch.bfloat16,), "fp16"), ((torch.bfloat16, torch.float16), "fp32")],
)
def test_other_accelerators_run_in_what_they_compute(monkeypatch, lacking, expected):
    monkeypatch.setattr(device_module, "computes", lambda device, dtype: dtype not in lacking)
    name, reason = native_dtype(torch.device("mps"))
    assert name == expected
    assert "mps has" in reason


def test_what_a_device_computes_is_tried():
    assert all(computes(torch.device("cpu"), dtype) for dtype in (torch.float32, torch.bfloat16))
    assert not computes(torch.device("cpu"), torch.float8_e4m3fn)


@pytest.mark.parametrize(("names", "expected"), [((), False), (("avx512_f",), False), (("avx512_bf16",), True)])
def test_bfloat16_arithmetic_is_read_from_the_processor(monkeypatch, names, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(names, True), raising=False)
    assert device_module.multiplies_bfloat16() is expected


@pytest.mark.parametrize("kind", ["mps", "xpu", "cuda", None])
def test_the_accelerator_is_the_default_device(monkeypatch, kind):
    found = kind and torch.device(kind)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: found)
    assert pick_device(None) == torch.device(kind or "cpu")


@pytest.mark.parametrize("name", ["abacus", "meta", "cuda:99", "", "mps", "xpu", "hpu"])
def test_devices_that_cannot_compute_here_are_the_users_mistake(name):
    with pytest.raises(UserError, match="is not available here; use cpu"):
        pick_device(name)


def test_the_choice_is_said_with_its_reason(monkeypatch, capsys):
    class Told(Exception):
        pass

    def stop(*_, **__):
        raise Told

    monkeypatch.setattr(loading, "load_model", stop)
    monkeypatch.setattr(loading, "native_dtype", lambda device: ("fp16", "the GPU has no bf16"))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    for dtype, said in ((None, "on cpu, fp16 because the GPU has no bf16, 1 step"), ("fp32", "on cpu, fp32, 1 step")):
        with contextlib.suppress(Told):
            loading.load_choice(loading.Choice("tiny", device="cpu", dtype=dtype), Events())
        assert said in capsys.readouterr().out
        assert torch.backends.cudnn.allow_tf32 == (dtype != "fp32")


def test_memory_is_counted_by_the_device_if_it_counts(monkeypatch):
    calls = []
    counting = SimpleNamespace(max_memory_allocated=lambda device: 7, reset_peak_memory_stats=calls.append)
    for module, expected in ((counting, 7), (SimpleNamespace(), None)):
        monkeypatch.setattr(torch, "get_device_module", lambda device, module=module: module)
        forget_peak(torch.device("xpu"))
        assert peak_memory(torch.device("xpu")) == expected
    assert calls == [torch.device("xpu")]
    assert peak_memory(torch.device("cpu")) > 1e7


def test_nothing_but_the_device_module_asks_for_a_kind_of_device():
    elsewhere = {"data", "evaluation", "losses", "objectives", "optim", "parallel", "training"}
    names = re.compile(r"\.cuda\(|torch\.(cuda|mps|xpu)\.")
    found = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if names.search(path.read_text())}
    allowed = {Path("restore/device.py"), Path("models/varlen.py"), Path("precompute.py"), Path("train.py")}
    assert {path for path in found if path.parts[0] not in elsewhere} <= allowed


class NoDouble(TorchDispatchMode):
    """Fails where a tensor of float64 is made, which devices such as MPS do not have."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            assert not isinstance(value, torch.Tensor) or value.dtype != torch.float64, function
        return result


def test_no_double_precision_anywhere_on_the_way(make_generator, codec, prompt, clip):
    for family in ("3b", "7b"):
        generator = make_generator(family, seed=5).eval().requires_grad_(False)
        restorer = ShotRestorer(generator, codec, prompt=prompt, window=3, steps=2, color_fix="wavelet")
        with NoDouble():
            assert len(list(restorer.restore(clip[:14]))) == 14
    with pytest.raises(AssertionError), NoDouble():
        torch.ones(1, dtype=torch.float64)
