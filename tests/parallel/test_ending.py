"""Processes that are told to end do so, once and soon."""

import signal
import subprocess
import sys
import time

import pytest

from seedvr2 import errors
from seedvr2.errors import UserError, main_guard

STUCK = """
import ctypes
import threading
from seedvr2.errors import orderly_termination
from seedvr2.parallel.ending import dies_when_told, ends_when_told
with orderly_termination(), {block}:
    mutex, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    library.pthread_mutex_lock(mutex)
    threading.Timer(0.5, print, ["ready"], {{"flush": True}}).start()
    library.pthread_mutex_lock(mutex)  # Python hears nothing in here
"""
CLEANING = """
import time
from seedvr2.parallel.ending import ends_when_told
try:
    with ends_when_told(30):
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            print("cleaning", flush=True)
            time.sleep(0.5)
            print("clean", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def start(code: str) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("block", "code"), [("ends_when_told(0.3)", 128), ("dies_when_told()", 0)])
def test_a_process_inside_a_call_that_never_returns_ends(number, block, code):
    process = start(STUCK.format(block=block))
    begin = time.monotonic()
    process.send_signal(number)
    assert process.wait(20) == (code + number if code else -number)
    assert time.monotonic() - begin < 10
    assert process.communicate() == ("", "")


def test_a_second_interrupt_does_not_disturb_the_end_of_the_first():
    process = start(CLEANING)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("clean\ninterrupted\n", "")
    assert process.returncode == 0


def test_of_processes_with_the_same_mistake_one_speaks_and_the_others_let_it_finish(capsys, monkeypatch):
    waited = []
    monkeypatch.setattr(errors.time, "sleep", waited.append)
    for speaks in (True, False):
        with pytest.raises(SystemExit) as exit_, main_guard("seedvr2.infer", speaks=speaks):
            raise UserError("this is wrong")
        assert exit_.value.code == 2
        assert bool(waited) is not speaks
    assert capsys.readouterr().err == "seedvr2.infer: this is wrong\n"
