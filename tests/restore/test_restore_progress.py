import io

import pytest

from seedvr2.restore.progress import clock, progress_line, tracked


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3661, "1:01:01")])
def test_durations_read_as_a_clock(seconds, text):
    assert clock(seconds) == text


def test_lines_say_how_much_is_left():
    assert progress_line(10, total=40, seconds=20) == "10 of 40 frames, 0.50 frames/s, 1:00 left"
    assert progress_line(40, total=40, seconds=80) == "40 of 40 frames in 1:20, 0.50 frames/s"
    assert progress_line(41, total=40, seconds=82) == "41 frames, 0.50 frames/s"
    assert progress_line(41, total=None, seconds=82) == "41 frames, 0.50 frames/s"


def test_a_log_gets_plain_lines_and_the_true_count_at_the_end():
    stream = io.StringIO()
    assert list(tracked(range(5), total=134, stream=stream, every=0)) == list(range(5))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 6
    assert "left" in lines[0]
    assert lines[-1].startswith("5 of 5 frames in ")
    assert "\r" not in stream.getvalue()


def test_a_quiet_log_gets_one_line():
    stream = io.StringIO()
    list(tracked(range(5), total=5, stream=stream))
    assert len(stream.getvalue().splitlines()) == 1


def test_a_terminal_gets_a_bar():
    stream = Terminal()
    assert list(tracked(range(5), total=5, stream=stream)) == list(range(5))
    assert "\r" in stream.getvalue()
    assert "5/5" in stream.getvalue()
