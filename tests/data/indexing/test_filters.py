"""Every reason rejects its own clip and nothing else."""

import pytest

from seedvr2.data.indexing.filters import REASONS, Filters
from seedvr2.data.indexing.probe import Facts, Shot
from seedvr2.data.indexing.scores import Scores
from seedvr2.errors import UserError

SCORES = Scores(sharpness=300.0, motion=0.5, still=0.1, contrast=50.0, bars=(0, 0, 0, 0))
SHOT = Shot(start=0, frames=40, width=640, height=360, pts=0, scores=SCORES)
FACTS = Facts("abc", 1000, shots=(SHOT,))
LIMITS = {"min_sharpness": 20.0, "min_motion": 0.05}
BAD = {
    "hdr": (FACTS._replace(is_hdr=True), SHOT),
    "interlaced": (FACTS._replace(is_interlaced=True), SHOT),
    "tiny": (FACTS, SHOT._replace(height=255)),
    "short": (FACTS, SHOT._replace(frames=4)),
    "blank": (FACTS, SHOT._replace(scores=SCORES._replace(contrast=3.0))),
    "static": (FACTS, SHOT._replace(scores=SCORES._replace(still=0.95))),
    "letterboxed": (FACTS, SHOT._replace(scores=SCORES._replace(bars=(40, 40, 0, 0)))),
    "blurred": (FACTS, SHOT._replace(scores=SCORES._replace(sharpness=5.0))),
    "slow": (FACTS, SHOT._replace(scores=SCORES._replace(motion=0.01))),
}


def test_every_reason_has_a_clip():
    assert set(BAD) == set(REASONS) - {"duplicate"}  # which is found in the whole index


def test_a_good_clip_passes():
    assert Filters(**LIMITS).reject(FACTS, SHOT, is_still=False) is None


@pytest.mark.parametrize("reason", BAD)
def test_each_reason_rejects_its_own_clip(reason):
    facts, shot = BAD[reason]
    found, detail = Filters(**LIMITS).reject(facts, shot, is_still=False)
    assert found == reason
    assert detail
    assert Filters(**LIMITS, keep=(reason,)).reject(facts, shot, is_still=False) is None


def test_images_neither_move_nor_last():
    still = SHOT._replace(frames=1, scores=SCORES._replace(still=1.0, motion=0.0))
    assert Filters(**LIMITS).reject(FACTS, still, is_still=True) is None
    assert Filters(**LIMITS).reject(FACTS, still, is_still=False)[0] == "short"


def test_bars_are_measured_against_their_own_side():
    thin = SHOT._replace(scores=SCORES._replace(bars=(0, 0, 9, 9)))  # 1.4 % of the width, 2.5 % of the height
    assert Filters().reject(FACTS, thin, is_still=False) is None
    thin = SHOT._replace(scores=SCORES._replace(bars=(9, 0, 0, 0)))
    assert Filters().reject(FACTS, thin, is_still=False)[0] == "letterboxed"


def test_unknown_reasons_are_named():
    with pytest.raises(UserError, match="'corrupt' is no reason"):
        Filters(keep=("corrupt",))
