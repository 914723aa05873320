"""Properties of old projectors and dyes: the recorded movement, gains and colours are what happens to the picture."""

import numpy as np
import pytest

from seedvr2.data.degradation.draw import Draw
from seedvr2.data.degradation.projection import CALM, Fading, Flicker, GateWeave
from seedvr2.data.degradation.tensors import LUMA


def applied(operation, clip, seed=0):
    """The result and the recorded parameters."""
    draw = Draw(np.random.default_rng(seed), (1, 1))
    out = operation(clip, draw)
    assert out.dtype == np.float32
    assert out.shape == clip.shape
    (entry,) = draw.record
    return out, entry


def ramps(frames=4, height=80, width=100):
    """A clip whose red is the column, green the row and blue zero, in thousandths."""
    rows, columns = np.mgrid[:height, :width]
    picture = np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.float32) / 1000
    return np.repeat(picture[None], frames, axis=0)


def test_the_gate_moves_the_picture_as_recorded():
    clip = ramps()
    out, entry = applied(GateWeave(amplitude=(20, 20), rotation=(10, 10)), clip)
    middle = np.array([99 / 2, 79 / 2])
    for frame, (down, right, angle) in zip(out, entry["moves"], strict=True):
        # The picture's point at (x, y) comes from where the inverse movement leads; positive angles turn left.
        for x, y in ((40, 30), (50, 50), (65, 35)):
            offset = np.array([x, y]) - middle - (right, down)
            cos, sin = np.cos(angle), np.sin(angle)
            source = np.array([[cos, -sin], [sin, cos]]) @ offset + middle
            assert frame[y, x, :2] * 1000 == pytest.approx(source, abs=0.1)
    assert np.abs(entry["moves"]).max() > 0.5


def test_the_gate_weaves_steadily_with_its_amplitude():
    _, entry = applied(GateWeave(amplitude=(3, 3), rotation=(2, 2)), np.zeros((3000, 10, 1, 3), np.float32))
    moves = np.array(entry["moves"])
    assert moves.std(axis=0) == pytest.approx([0.03, 0.03, 0.002], rel=0.15)
    for path in moves.T:
        assert np.corrcoef(path[1:], path[:-1])[0, 1] == pytest.approx(CALM, abs=0.06)


def test_flicker_scales_whole_frames_by_the_recorded_gains():
    clip = np.random.default_rng(0).random((2000, 2, 3, 3), dtype=np.float32)
    out, entry = applied(Flicker(gain=(0.05, 0.05)), clip)
    gains = np.array(entry["gains"])
    assert np.allclose(out, clip * gains[:, None, None, None], rtol=1e-5)
    assert entry["spread"] == pytest.approx(0.05)
    assert np.log(gains).std() == pytest.approx(0.05, rel=0.15)


def test_fading_maps_black_and_white_to_its_levels_and_tints_them():
    clip = np.stack([np.zeros((2, 2, 3)), np.ones((2, 2, 3))]).astype(np.float32)
    out, entry = applied(Fading(black=(0.1, 0.1), white=(0.8, 0.8), warmth=(0.05, 0.05)), clip)
    tint = np.array([1.05, 1, 0.95])
    assert np.allclose(out[0], 0.1 * tint, atol=1e-6)
    assert np.allclose(out[1], 0.8 * tint, atol=1e-6)
    assert (entry["black"], entry["white"]) == (0.1, 0.8)


@pytest.mark.parametrize("left", [0.0, 0.3, 1.0])
def test_fading_keeps_the_share_of_colour_that_it_says(left):
    clip = np.random.default_rng(0).random((2, 4, 5, 3), dtype=np.float32)
    plain = {"black": (0, 0), "white": (1, 1), "warmth": (0, 0)}
    out, entry = applied(Fading(gray=0, saturation=(left, left), **plain), clip)
    luma = (clip @ np.float32(LUMA))[..., None]
    assert np.allclose(out - luma, left * (clip - luma), atol=1e-6)
    assert entry["saturation"] == left


def test_black_and_white_is_as_frequent_as_said():
    clip = np.full((1, 1, 1, 3), 0.5, np.float32)
    grays = [applied(Fading(gray=0.4), clip, seed)[1]["saturation"] == 0 for seed in range(400)]
    assert np.mean(grays) == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize("operation", [GateWeave(), Flicker(), Fading()])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 31), (2, 33, 7)])
def test_any_size_is_kept_equal_seeds_are_equal_and_inputs_stay(operation, shape):
    clip = np.random.default_rng(1).random((*shape, 3), dtype=np.float32)
    before = clip.copy()
    assert np.array_equal(applied(operation, clip, 3)[0], applied(operation, clip, 3)[0])
    assert np.array_equal(clip, before)


@pytest.mark.parametrize("kind", [GateWeave, Flicker, Fading])
def test_nothing_happens_at_probability_zero(kind):
    clip, draw = np.zeros((2, 4, 4, 3), np.float32), Draw(np.random.default_rng(0), (1, 1))
    assert kind(0.0)(clip, draw) is clip
    assert draw.record == []
