import cv2
import numpy as np
import pytest

from seedvr2.evaluation.registration import Offset, find_offset, offset_of, registered
from tests.evaluation.miniatures import moving

MARGIN, FRAMES = 12, 13
MOVES = [(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (4, -7, 0), (-9, 10, 0), (0, 0, 1), (0, 0, -1)]
MOVES += [(0, 0, 3), (0, 0, -3), (1, -1, 2), (-2, 3, -1)]


@pytest.fixture(scope="module")
def scene():
    return moving(3, FRAMES, 120, 168)


def displaced(scene, down: int, right: int, late: int):
    """(prediction, gt) cut out of one scene, such that the first is displaced."""
    height, width = scene[0].shape[:2]
    rows, columns = ((MARGIN - move, side - MARGIN - move) for move, side in ((down, height), (right, width)))
    made = [frame[slice(*rows), slice(*columns)] for frame in scene]
    true = [frame[MARGIN:-MARGIN, MARGIN:-MARGIN] for frame in scene]
    return made[3 - late : len(made) - 3 - late], true[3:-3]


def blurred(clip):
    return [cv2.GaussianBlur(frame, (0, 0), 2.5) for frame in clip]


def noisy(clip):
    rng = np.random.default_rng(0)
    return [np.clip(frame + rng.normal(0, 25, frame.shape), 0, 255).astype(np.uint8) for frame in clip]


def darker(clip):
    return [(frame * 0.6 + 20).astype(np.uint8) for frame in clip]


@pytest.mark.parametrize("change", [list, blurred, noisy, darker])
def test_displacements_are_found_exactly(scene, change):
    found = {move: find_offset(change(displaced(scene, *move)[0]), displaced(scene, *move)[1]) for move in MOVES}
    assert {move: tuple(offset[:3]) for move, offset in found.items()} == {move: move for move in MOVES}
    assert all(offset.confidence > 0.6 for offset in found.values())


def test_equal_clips_are_aligned_with_full_confidence(scene):
    offset = find_offset(iter(scene), iter(scene))
    assert offset.is_aligned
    assert offset.confidence == pytest.approx(1, abs=1e-5)


def test_a_still_scene_has_no_displacement_in_time_and_half_a_pixel_is_none_in_space(scene):
    still = [scene[0]] * 7
    assert find_offset(still, still).is_aligned
    soft = [np.round((frame[:, :-1].astype(float) + frame[:, 1:]) / 2).astype(np.uint8) for frame in scene]
    assert abs(find_offset(soft, [frame[:, :-1] for frame in scene]).right) <= 1
    assert find_offset(scene[:1], scene[:1]).is_aligned


def test_other_and_empty_pictures_have_little_confidence(scene):
    assert find_offset(scene, scene).is_certain
    assert not find_offset(scene, moving(77, FRAMES, 120, 168)).is_certain
    black = [np.zeros_like(frame) for frame in scene]
    assert find_offset(black, scene)[:] == (0, 0, 0, 0)


def test_one_frame_that_is_torn_does_not_decide():
    made, true = displaced(moving(3, FRAMES + 4, 120, 168), 2, 1, 0)
    made[len(made) // 2] = np.zeros_like(made[0])
    assert find_offset(made, true)[:3] == (2, 1, 0)


def test_a_displacement_of_some_frames_only_is_none():
    made, true = displaced(moving(3, FRAMES + 4, 120, 168), 0, 0, 0)
    shaky = [np.roll(frame, 1, axis=1) if 4 <= time <= 6 else frame for time, frame in enumerate(made)]
    assert find_offset(shaky, true).is_aligned
    assert find_offset([np.roll(frame, 1, axis=1) for frame in made], true)[:3] == (0, 1, 0)


def test_an_even_pan_is_explained_in_the_simplest_way():
    wide = moving(4, 1, 120, 240)[0]
    pan = [wide[:, 3 * time : 3 * time + 160] for time in range(FRAMES)]
    made, true = [frame[:, 8:-8] for frame in pan], [frame[:, 10:-6] for frame in pan]
    assert find_offset(made, true)[:3] == (0, 2, 0)  # and not one frame and -1 pixels
    assert find_offset(pan[:-1], pan[1:])[:3] == (0, 0, 1)  # and not three pixels


@pytest.mark.parametrize("move", MOVES)
def test_registered_triples_show_the_same(scene, move):
    made, true = displaced(scene, *move)
    lq = [np.full((2, 2, 3), number, np.uint8) for number in range(len(true))]
    triples = list(zip(made, true, lq, strict=True))
    assert offset_of(iter(triples))[:3] == move
    cut = list(registered(triples, Offset(*move, 1.0)))
    height, width = true[0].shape[:2]
    assert len(cut) == len(true) - abs(move[2])
    for number, (a, b, c) in enumerate(cut, max(-move[2], 0)):
        assert a.shape == (height - abs(move[0]), width - abs(move[1]), 3)
        assert np.array_equal(a, b)
        assert c is None if move[0] or move[1] else c[0, 0, 0] == number
