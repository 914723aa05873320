"""One clip restored by several ranks is the clip of one process; several inputs are spread."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from seedvr2 import infer
from seedvr2.errors import UserError
from seedvr2.io.media import open_media
from seedvr2.parallel.restoration import shares
from seedvr2.restore.loading import Choice, check_ranks
from tests.data.clips import pan, write_clip
from tests.parallel import commanding, splitting

ROOT = Path(__file__).parents[2]
CLOSE = 2e-5  # of a range of 2; one step of 8 bits is 8e-3
SMALL = ["--model", "tiny", "--scale", "1", "--dtype", "fp32", "--device", "cpu", "--window", "9", "--codec", "ffv1"]


def frames(path: Path) -> np.ndarray:
    with open_media(path) as media:
        return np.stack([picture.rgb for picture in media.pictures()]).astype(float)


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Sixteen frames of two scenes, 32x48."""
    scenes = pan(1, 11, height=32, width=48) + pan(2, 5, height=32, width=48)
    return write_clip(tmp_path_factory.mktemp("film") / "film.mkv", scenes, codec="ffv1", pixels="bgr0")


@pytest.fixture(scope="module")
def alone(film) -> np.ndarray:
    """What one process makes of it."""
    infer.main(["--input", str(film), "--output", str(film.with_name("alone.mkv")), "--quiet", *SMALL])
    return frames(film.with_name("alone.mkv"))


@pytest.mark.parametrize(("latents", "peers"), [(1, 4), (3, 4), (4, 4), (5, 4), (3, 2), (11, 4)])
def test_shares_are_even_and_the_first_ranks_have_them(latents, peers):
    counts = [len(part) for part in shares(latents, peers)]
    assert sum(counts) == latents
    assert counts == sorted(counts, reverse=True)
    assert max(counts) - min(counts) <= 1
    joined = shares(latents, peers, joined=True)
    assert [latent for part in joined for latent in part] == list(range(latents))
    assert len(joined) == peers
    assert len(joined[0]) > 1 or latents == 1


@pytest.mark.parametrize(("world", "counts"), [(2, [1, 3, 9, 26, 1]), (4, [1, 5, 14])])
def test_ranks_restore_clips_of_any_length_as_one_process_does(ranks, world, counts):
    # pictures, fewer latents than ranks, last groups of one latent and of several, padded ones, several windows
    found, *others = ranks(world)(splitting.differences, counts)
    assert others == [[]] * (world - 1)
    assert len(found) == len(counts)
    assert max(found) < CLOSE


def test_ranks_begin_in_mid_shot_as_one_process_does(ranks):
    found = ranks(2)(splitting.differences_from, 8, 118)[0]
    assert found.count(None) > 80
    results = [difference for difference in found if difference is not None]
    assert len(results) > 8
    assert max(results) < CLOSE


def test_streams_may_interleave_and_those_that_end_are_forgotten(ranks):
    (difference, kept), (_, kept_by_other) = ranks(2)(splitting.clips_that_remain, 22)
    assert difference < CLOSE
    assert kept <= 2  # of the last picture, whose end nobody has heard of yet
    assert kept_by_other <= 2


def test_a_mistake_of_one_rank_is_the_mistake_of_all(ranks):
    assert ranks(2)(splitting.mistakes) == [["this is wrong", "rank 1: this is wrong"]] * 2


def test_the_command_splits_one_input_and_the_main_rank_speaks(ranks, film, alone, tmp_path):
    output = tmp_path / "out.mkv"
    arguments = ["--input", str(film), "--output", str(output), "--segment", "6", *SMALL]
    (code, said, _), other = ranks(2)(commanding.command, arguments)
    assert code == 0
    assert other == (0, "", "")
    assert "2 processes share the work" in said
    assert np.abs(frames(output) - alone).max() <= 1
    assert json.loads(output.with_name("out.mkv.json").read_text())["ranks"] == 2


def test_several_inputs_are_spread(ranks, film, alone, tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.mkv").write_bytes(film.read_bytes() if name != "b" else b"not a film")
    arguments = ["--input", str(tmp_path), "--output", str(tmp_path / "out"), "--container", ".mkv", *SMALL]
    (code, said, erred), (other_code, other_said, other_erred) = ranks(2)(commanding.command, arguments)
    assert (code, other_code) == (3, 0)
    assert "2 of 3 inputs restored" in said
    assert "failed: b.mkv" in erred
    assert all(line.startswith("[1] ") for line in (other_said + other_erred).splitlines())
    assert "[1] " + str(tmp_path / "b.mkv") in other_erred
    for name in ("a", "c"):
        assert np.array_equal(frames(tmp_path / "out" / f"{name}.mkv"), alone)
    again = [*arguments, "--overwrite", "--ranks", "split", "--json"]
    (code, said, _), (other_code, other_said, _) = ranks(2)(commanding.command, again)
    assert (code, other_code, other_said) == (3, 0, "")
    assert np.abs(frames(tmp_path / "out" / "c.mkv") - alone).max() <= 1
    assert json.loads(said.splitlines()[-2])["failed"] == ["b.mkv"]


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (["--window", "6"], "--window 6 is not 4k + 1"),
        (["--input", "/no/such/film.mkv"], "stands for no video"),
        (["--device", "cpu:0"], "not on cpu:0; start one process"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(ranks, film, tmp_path, wrong, match):
    arguments = ["--input", str(film), "--output", str(tmp_path / "out.mkv"), *SMALL, *wrong]
    found = ranks(2)(commanding.command, arguments)
    assert found[0][0] == 2
    assert match in found[0][2]
    assert len(found[0][2].splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_more_processes_than_heads_are_said_before_loading():
    check_ranks(Choice("tiny", device="cpu"), 3)
    with pytest.raises(UserError, match=r"99 processes cannot share the \d+ heads of tiny; start \d+ of them or fewer"):
        check_ranks(Choice("tiny", device="cpu"), 99)


def test_when_a_process_dies_the_others_end_and_one_process_goes_on(film, alone, tmp_path):
    output = tmp_path / "out.mkv"
    command = ["--input", str(film), "--output", str(output), "--segment", "2", *SMALL]
    launcher = ["torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "seedvr2.infer"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-m", *launcher, *command], env=environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / ".out.mkv.work" / "journal.json").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    os.kill(follower_of(process.pid), signal.SIGKILL)
    errors = process.communicate(timeout=30)[1]
    assert process.returncode != 0
    assert not output.exists()
    assert "[rank" not in errors  # the traceback of a process that lives
    infer.main([*command, "--quiet"])
    assert np.abs(frames(output) - alone).max() <= 1
    assert sorted(os.listdir(tmp_path)) == ["out.mkv", "out.mkv.json"]


def follower_of(launcher: int) -> int:
    """The process of rank 1 that a launcher started."""
    for children in Path(f"/proc/{launcher}/task").glob("*/children"):
        for child in children.read_text().split():
            if b"\0RANK=1\0" in Path(f"/proc/{child}/environ").read_bytes():
                return int(child)
    raise AssertionError("there is no such process")
