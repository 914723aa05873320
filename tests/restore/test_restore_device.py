import pytest
import torch

from seedvr2.errors import UserError
from seedvr2.restore import device as device_module
from seedvr2.restore.device import pick_device, pick_dtype


def test_half_precision_is_the_default_where_the_hardware_has_it(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 1)
    for is_native, default in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(device_module, "multiplies_bfloat16", lambda is_native=is_native: is_native)
        assert pick_dtype(None, cpu) == default
        assert pick_dtype(None, cuda) == "bf16"
        assert pick_dtype("fp16", cpu) == "fp16"


@pytest.mark.parametrize(("names", "expected"), [((), False), (("avx512_f",), False), (("avx512_bf16",), True)])
def test_bfloat16_arithmetic_is_read_from_the_processor(monkeypatch, names, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(names, True), raising=False)
    assert device_module.multiplies_bfloat16() is expected


@pytest.mark.parametrize("name", ["abacus", "meta", "cuda:99", ""])
def test_devices_that_cannot_compute_here_are_the_users_mistake(name):
    with pytest.raises(UserError, match="is not available here"):
        pick_device(name)
