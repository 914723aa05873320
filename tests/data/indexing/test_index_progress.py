"""Progress is a line now and then in a log, with the count, the rate and the time that is left."""

import io
import re

from seedvr2.data.indexing.progress import Progress


def test_a_log_gets_a_line_per_interval_and_one_at_the_end():
    log = io.StringIO()
    with Progress(5, stream=log, every=0) as progress:
        for number in range(3):
            progress.step(f"{number} damaged")
    lines = log.getvalue().splitlines()
    assert len(lines) == 4
    assert re.fullmatch(r"2 of 5 files, \d+\.\d files/s, 0:00:00 left, 1 damaged", lines[1])
    assert lines[3].startswith("3 of 5 files")


def test_a_quiet_interval_prints_the_end_only():
    log = io.StringIO()
    with Progress(2, stream=log) as progress:
        progress.step()
        progress.step()
    assert re.fullmatch(r"2 of 2 files, \d+\.\d files/s\n", log.getvalue())


def test_nothing_to_do_prints_nothing():
    log = io.StringIO()
    with Progress(0, stream=log):
        pass
    assert log.getvalue() == ""


def test_a_terminal_gets_a_bar():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    with Progress(3, stream=screen) as progress:
        progress.step("1 damaged")
    assert "1/3" in screen.getvalue()
