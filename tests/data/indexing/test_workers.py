"""A file that crashes or stalls its process costs that file only."""

import os
import time

from seedvr2.data.indexing.workers import run_jobs
from tests.data.indexing.jobs import act


def test_crashes_and_hangs_cost_one_job_each():
    actions = ["go", "crash", "go", "hang", "go", "raise", "go", "go", "crash"]
    jobs = [(action, number) for number, action in enumerate(actions)]
    failures, processes = {}, set()
    for job, result, failure in run_jobs(act, jobs, workers=2, timeout=4.0):
        failures[job] = failure
        if not failure:
            assert result[0] == job[1] ** 2
            processes.add(result[1])
    expected = {"go": "", "crash": "crashed", "raise": "crashed", "hang": "stuck"}
    assert failures == {job: expected[job[0]] for job in jobs}
    assert os.getpid() not in processes


def test_a_slow_job_that_shows_life_is_not_stuck():
    (outcome,) = run_jobs(act, [("slow", 2)], workers=1, timeout=2.5)  # it takes 4 s
    assert (outcome.failure, outcome.result[0]) == ("", 4)


def test_no_process_outlives_the_run():
    outcomes = run_jobs(act, [("go", number) for number in range(50)], workers=2, timeout=60)
    processes = {next(outcomes).result[1] for _ in range(5)}
    outcomes.close()  # as by an interrupt
    assert processes
    for process in processes:
        deadline = time.monotonic() + 10
        while os.path.exists(f"/proc/{process}") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not os.path.exists(f"/proc/{process}")


def test_nothing_to_do_starts_nothing():
    assert list(run_jobs(act, [], workers=4, timeout=1)) == []
