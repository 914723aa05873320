"""What people type is read as they mean it."""

from fractions import Fraction

import pytest

from seedvr2.restore.cuts import read_cuts
from seedvr2.restore.options import frame_rate


@pytest.mark.parametrize("listed", ["4,11", "4\n11\n", "4, 11", "11 4,"])
def test_a_file_may_list_cuts_as_people_do(tmp_path, listed):
    (tmp_path / "cuts.txt").write_text(listed)
    assert read_cuts(str(tmp_path / "cuts.txt"), no_shots=False) == [4, 11]


@pytest.mark.parametrize(
    ("text", "rate"),
    [("24", "24"), ("29.97", "2997/100"), ("29.97002997", "30000/1001"), ("23.976023976023978", "24000/1001")],
)
def test_rates_become_fractions_that_containers_can_hold(text, rate):
    assert frame_rate(text) == Fraction(rate)
