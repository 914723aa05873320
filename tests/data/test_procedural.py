"""Properties of drawn clips."""

import numpy as np
import pytest

from seedvr2.data.procedural import ProceduralClips
from seedvr2.errors import UserError


def clips(seeds, source=None, shape=(5, 64, 48)):
    source = source or ProceduralClips()
    return [source.clip(np.random.default_rng(seed), *shape) for seed in seeds]


def test_clips_are_floats_in_range_of_the_requested_size():
    for shape in ((1, 32, 32), (5, 64, 48), (2, 17, 90)):
        (clip,) = clips([0], shape=shape)
        assert clip.shape == (*shape, 3)
        assert clip.dtype == np.float32
        assert 0 <= clip.min() < clip.max() <= 1


def test_every_clip_moves_a_little_from_frame_to_frame():
    for clip in clips(range(30)):
        change = np.abs(np.diff(clip, axis=0)).mean(axis=(1, 2, 3))
        assert change.min() > 0.002
        assert change.max() < 0.3


def test_clips_have_detail_that_a_reduction_by_four_loses():
    losses = []
    for clip in clips(range(30), shape=(1, 64, 64)):
        small = clip.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
        losses.append(np.abs(clip[0] - small.repeat(4, axis=0).repeat(4, axis=1)).mean())
    assert np.median(losses) > 0.02


def test_equal_generators_give_equal_clips_and_others_differ():
    first, again = clips(range(5)), clips(range(5))
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert len({clip.tobytes() for clip in first}) == 5


def test_count_and_first_select_the_scenes():
    # One scene: clips differ in time and mirroring only, so their mean colours are close.
    means = [clip.mean(axis=(0, 1, 2)) for clip in clips(range(8), ProceduralClips(count=1))]
    others = [clip.mean(axis=(0, 1, 2)) for clip in clips(range(8), ProceduralClips(count=512))]
    assert np.ptp(means, axis=0).max() < 0.5 * np.ptp(others, axis=0).max()
    held_out = clips(range(8), ProceduralClips(count=1, first=1))
    assert not np.allclose(np.mean(held_out), np.mean(clips(range(8), ProceduralClips(count=1))), atol=1e-3)
    with pytest.raises(UserError, match="count"):
        ProceduralClips(count=0)
