"""Two processes by torchrun and by accelerate; the Slurm script with stand-ins for Slurm's commands."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from seedvr2.parallel.mesh import Parallelism
from seedvr2.parallel.runtime import Runtime

ROOT = Path(__file__).parents[2]
SLURM = ROOT / "scripts" / "train_slurm.sh"
LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--nproc-per-node=2", "--standalone"],
    "accelerate": [
        "accelerate.commands.launch",
        *("--multi_gpu", "--num_processes=2", "--num_machines=1", "--main_process_port=0"),  # --cpu would start one
        *("--mixed_precision=no", "--dynamo_backend=no"),
    ],
}
TRAINING = [
    *("+stage@stages.vae=vae", "+stage@stages.base=base", "model=debug", "vae=debug", "degradation=none"),
    *("run.device=cpu", "run.precision=fp32", "run.threads=1", "track.every=1", "parallel=fsdp_sp2"),
    *("stages.vae.iterations=1", "stages.vae.save_every=0", "stages.vae.preview_every=0"),
    *("stages.base.iterations=2", "stages.base.save_every=1", "stages.base.preview_every=0"),
    "data.shapes=[{_target_: seedvr2.data.shapes.Shape, frames: 1, height: 32, width: 32, batch: 2}]",
]


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """Launcher -> folder of its run and the lines it printed; both run at once."""
    root = tmp_path_factory.mktemp("launched")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = {}
    for name, launcher in LAUNCHERS.items():
        command = [sys.executable, "-m", *launcher, "-m", "seedvr2.train", *TRAINING, f"run.dir={root / name}"]
        pipe = subprocess.PIPE
        processes[name] = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
    found = {}
    for name, process in processes.items():
        out, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
        found[name] = root / name, out.splitlines()
    return found


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_main_process_alone_speaks_and_records(launched, launcher):
    folder, lines = launched[launcher]
    assert len([line for line in lines if line.startswith("stage base:")]) == 1
    assert lines[-1] == f"finished: {folder}"
    assert len(lines) == len(set(lines))
    steps = {path.name: recorded(path) for path in folder.glob("*.jsonl")}
    assert steps["metrics.jsonl"] == [("vae", 1), ("base", 1), ("base", 2)]
    assert all(len(found) == len(set(found)) for found in steps.values())


def recorded(path: Path) -> list[tuple[str, int]]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [(record["stage"], record["step"]) for record in records]


def test_both_ranks_take_part_in_a_checkpoint(launched):
    for folder, _ in launched.values():
        parts = {path.name for path in (folder / "base" / "checkpoints").glob("*/*.distcp")}
        assert {part.split("_")[2] for part in parts} == {"0", "1"}


def test_the_launcher_makes_no_difference(launched):
    (ours, _), (theirs, _) = launched.values()
    names = [path.relative_to(ours) for path in ours.glob("*/final/*")]
    assert names
    for name in names:
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name


@pytest.fixture
def slurm(tmp_path):
    """Starts the Slurm script where `srun`, `scontrol` and `scancel` write down their arguments."""

    def start(*arguments: str, srun: str = "", **environment: str) -> subprocess.Popen:
        bodies = {
            "srun": srun,
            "scontrol": 'if [ "$1" = show ]; then printf "node7\\nnode8\\n"; fi',
            "scancel": 'touch "$0.done"',
        }
        for name, body in bodies.items():
            path = tmp_path / name
            path.write_text(f'#!/usr/bin/env bash\nprintf "%s\\n" "$*" >>"$0.log"\n{body}\n')
            path.chmod(0o755)
        job = {"SLURM_JOB_ID": "12345", "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_JOB_NUM_NODES": "2"}
        variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_GPUS_ON_NODE": "4", **job, **environment}
        pipe = subprocess.PIPE
        command = ["bash", str(SLURM), *arguments]
        return subprocess.Popen(command, env=variables, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)

    return start


def test_slurm_starts_one_torchrun_per_node_that_meet_on_the_first(slurm, tmp_path):
    process = slurm("+experiment=apt_7b", "run.dir=runs/my run")
    assert process.wait(timeout=20) == 0
    step, launch = (tmp_path / "srun.log").read_text().strip().split(" torchrun ")
    assert "--ntasks-per-node=1" in step.split()
    assert launch == (
        "--nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-id 12345 --rdzv-endpoint node7:29845 "
        "--max-restarts 0 -m seedvr2.train +experiment=apt_7b run.dir=runs/my run"
    )
    assert "requeue" not in (tmp_path / "scontrol.log").read_text()


def test_slurm_hands_on_the_exit_code_of_training(slurm, tmp_path):
    assert slurm("+experiment=apt_7b", srun="exit 3").wait(timeout=20) == 3
    assert "requeue" not in (tmp_path / "scontrol.log").read_text()


def test_slurm_lets_the_run_save_before_the_time_limit_and_queues_it_again(slurm, tmp_path):
    saving = (
        'touch "$0.started"; while ! [ -e "${0%/*}/scancel.done" ]; do sleep 0.05; done; sleep 0.3; touch "$0.saved"'
    )
    process = slurm("+experiment=apt_7b", srun=f"{saving}; exit 1")
    deadline = time.monotonic() + 20
    while not (tmp_path / "srun.started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert (tmp_path / "srun.saved").exists()
    assert (tmp_path / "scancel.log").read_text() == "--signal=TERM 12345\n"
    assert (tmp_path / "scontrol.log").read_text().splitlines()[-1] == "requeue 12345"


def test_slurm_without_arguments_says_how_it_is_used(slurm):
    process = slurm()
    assert process.wait(timeout=20) == 2
    assert "usage: sbatch" in process.stderr.read()


def test_slurm_is_told_to_signal_this_script_in_time():
    assert subprocess.run(["bash", "-n", str(SLURM)], check=False).returncode == 0
    assert "#SBATCH --signal=B:TERM@" in SLURM.read_text()


def test_a_process_alone_on_a_gpu_holds_its_networks_whole(monkeypatch):
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    runtime = Runtime.start(Parallelism(), cpu=False)
    assert not dist.is_initialized()
    assert runtime.device.type == "cuda"
    assert runtime.mesh.weights is None


def test_ranks_on_gpus_agree_on_numbers_of_the_cpu_too(monkeypatch):
    asked = {}
    monkeypatch.setattr("seedvr2.parallel.runtime.PartialState", lambda **settings: asked.update(settings))
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    Runtime.start(Parallelism(), cpu=False)
    backends = dist.BackendConfig(dist.Backend(asked["backend"])).get_device_backend_map()
    assert backends == {"cuda": "nccl", "cpu": "gloo"}
