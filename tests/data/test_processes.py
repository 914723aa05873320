"""Processes that load data do not hear the signals of their group, and do not outlive their parent."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from seedvr2.data.loader import batches
from tests.data.slow import stuck

ROOT = Path(__file__).parents[2]
TRAINING = [
    *("+stage@stages.vae=vae", "vae=debug", "degradation=none", "run.device=cpu", "run.threads=1"),
    *("stages.vae.iterations=9", "stages.vae.save_every=0", "stages.vae.preview_every=0", "stages.vae.feed.workers=1"),
    "data.shapes=[{_target_: seedvr2.data.shapes.Shape, frames: 1, height: 32, width: 32, batch: 1}]",
]


def until(happened, patience: float = 60) -> None:
    deadline = time.monotonic() + patience
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def members(group: int) -> list[int]:
    """The living processes of a process group."""
    stats = {path: path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat")}
    return [int(path.parent.name) for path, (state, _, its, *_) in stats.items() if int(its) == group and state != "Z"]


@pytest.fixture
def start(tmp_path):
    """Function overrides -> the process of `tests/data/slow.py`, in a group of its own, when it waits for data."""
    processes = []

    def begin(*overrides: str) -> subprocess.Popen:
        mark, pipe = tmp_path / "mark", subprocess.PIPE
        command = [sys.executable, "-m", "tests.data.slow", str(mark), *overrides]
        process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, process_group=0)
        processes.append(process)
        until(lambda: mark.exists() or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        return process

    yield begin
    for process in processes:
        if members(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_run_whose_group_is_signalled_while_it_waits_for_data_saves_after_its_step(start, tmp_path, number, code):
    run = start(*TRAINING, f"run.dir={tmp_path / 'run'}")
    os.killpg(run.pid, number)
    out, errors = run.communicate(timeout=60)
    assert run.returncode == code, errors
    assert "stopped in stage vae after step 1: the same command continues" in out
    assert [path.name for path in (tmp_path / "run/vae/checkpoints").iterdir()] == ["00000001"]
    until(lambda: not members(run.pid), 10)


def test_workers_that_are_stuck_end_with_their_parent(start):
    process = start()
    assert len(members(process.pid)) > 2
    process.kill()
    process.wait()
    until(lambda: not members(process.pid), 10)


def test_workers_that_are_stuck_end_with_their_loader(tmp_path):
    class Enough(Exception):
        pass

    def stop(*_) -> None:
        raise Enough

    def interrupt() -> None:
        until((tmp_path / "mark").exists)
        os.kill(os.getpid(), signal.SIGUSR1)

    others = set(multiprocessing.active_children())
    drawn = batches(stuck(str(tmp_path / "mark")), seed=0, stage="x", start=0, stop=9, positions=[0], workers=1)
    raised, before = [], signal.signal(signal.SIGUSR1, stop)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        next(drawn)
    except Enough as error:
        raised.append(error.with_traceback(None))
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert raised
    until(lambda: not set(multiprocessing.active_children()) - others, 20)
