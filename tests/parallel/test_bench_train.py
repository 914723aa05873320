"""The benchmark of training steps: its report, and its model FLOPs against those counted in a real step."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_train.py"
TINY = ["--size", "debug", "--device", "cpu", "--height", "32", "--width", "32", "--compile", "off", "--steps", "1"]
# torch counts attention on GPUs only
CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
    ),
}


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("bench_train", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]
    sys.path.remove(str(SCRIPT.parent))


@pytest.mark.parametrize("stage", ["base", "apt"])
def test_model_flops_are_those_of_a_step_without_recomputation(bench, stage):
    case = bench.Case(stage, "debug", "cpu", 9, 64, 64, "none", False, 1)
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        bench.measure(case)
    steps = 3  # two of them to warm up
    assert bench.step_flops(case) == pytest.approx(counter.get_total_flops() / steps, rel=0.02)


def test_the_report_says_what_was_measured_and_how(bench, tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    arguments = [*TINY, "--stages", "base", "--frames", "5", "--recompute", "full", "--output", str(path)]
    monkeypatch.setattr(sys, "argv", ["bench_train.py", *arguments])
    bench.main()
    found = json.loads(path.read_text())
    assert found["command"].endswith(" ".join(arguments))
    assert found["versions"].keys() == {"seedvr2", "torch"}
    (row,) = found["rows"]
    assert row["tokens"] == 2 * 2 * 2
    assert row["tokens_per_second"] == pytest.approx(row["tokens"] / row["seconds"])
    assert row["mfu"] == pytest.approx(row["model_tflops"] / row["seconds"] / found["matmul_tflops"])


def test_the_search_finds_the_longest_clip_that_fits(bench, monkeypatch):
    monkeypatch.setattr(bench, "measure", lambda case: {"failed": "out of memory"} if case.frames > 37 else {})
    case = bench.Case("apt", "debug", "cpu", 21, 32, 32, "none", False, 1)
    assert bench.longest(case).frames == 37
    monkeypatch.setattr(bench, "measure", lambda case: {"failed": "out of memory"})
    assert bench.longest(case) is None


def test_frames_that_no_latent_has_are_refused(bench, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_train.py", *TINY, "--frames", "20"])
    with pytest.raises(SystemExit) as stop:
        bench.main()
    assert stop.value.code == 2
    assert "--frames 20 is not 4k + 1: use 21" in capsys.readouterr().err
