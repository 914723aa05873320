"""Properties of interlacing: which lines come from which moment, and what becomes of pictures at rest."""

import numpy as np
import pytest

from seedvr2.data.degradation.draw import Draw
from seedvr2.data.degradation.interlace import KINDS, Interlace

both_fields = pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])


def interlaced(clip, kind, seed=0):
    """The result and the parity of the first field."""
    draw = Draw(np.random.default_rng(seed), (1, 1))
    out = Interlace(kinds={kind: 1})(clip, draw)
    assert draw.record[0]["kind"] == kind
    return out, draw.record[0]["first_line"]


def noise(frames=5, height=12, width=8):
    return np.random.default_rng(9).random((frames, height, width, 3), dtype=np.float32)


@both_fields
def test_weave_takes_every_other_line_from_the_next_frame(seed):
    clip = noise()
    out, first = interlaced(clip, "weave", seed)
    assert np.array_equal(out[:, first::2], clip[:, first::2])
    assert np.array_equal(out[:-1, 1 - first :: 2], clip[1:, 1 - first :: 2])
    assert np.array_equal(out[-1], clip[-1])


@both_fields
def test_bob_keeps_one_field_and_interpolates_the_other_alternately(seed):
    clip = noise()
    out, first = interlaced(clip, "bob", seed)
    for time, (frame, clean) in enumerate(zip(out, clip, strict=True)):
        parity = (first + time) % 2
        kept, lost = clean[parity::2], frame[1 - parity :: 2]
        assert np.array_equal(frame[parity::2], kept)
        between = (kept[:-1] + kept[1:]) / 2
        inner = lost[:-1] if parity == 0 else lost[1:]
        assert np.allclose(inner, between, atol=1e-6)


@both_fields
def test_blend_averages_two_moments(seed):
    values = np.arange(5, dtype=np.float32)
    clip = np.broadcast_to(values[:, None, None, None], (5, 6, 4, 3)).copy()
    out, _ = interlaced(clip, "blend", seed)
    assert np.allclose(out[:, 0, 0, 0], [0.5, 1.5, 2.5, 3.5, 4])
    assert np.ptp(out, axis=(1, 2, 3)).max() == 0


def test_both_fields_come_first_at_times():
    assert {interlaced(noise(), "weave", seed)[1] for seed in range(8)} == {0, 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 12, 8), (4, 1, 3), (4, 2, 1), (3, 7, 5)])
def test_any_shape_is_kept_and_smooth_pictures_at_rest_stay(kind, shape):
    flat = np.full((*shape, 3), 0.3, np.float32)
    out, _ = interlaced(flat, kind)
    assert out.dtype == np.float32
    assert np.allclose(out, flat)
    assert interlaced(noise(*shape), kind)[0].shape == (*shape, 3)


def test_inputs_are_not_changed():
    clip = noise()
    before = clip.copy()
    for kind in KINDS:
        interlaced(clip, kind)
    assert np.array_equal(clip, before)
