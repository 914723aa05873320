"""Properties of every video codec: same frames, same size, reproducible bytes, better pictures for more bits."""

import numpy as np
import pytest

from seedvr2.data.degradation.draw import to_bytes
from seedvr2.data.degradation.encoder import CODECS, check_encoder, through_codec
from seedvr2.data.procedural import ProceduralClips
from seedvr2.errors import UserError

every_codec = pytest.mark.parametrize("codec", CODECS)


def drawn(frames, height, width, seed=0):
    return [to_bytes(frame) for frame in ProceduralClips().clip(np.random.default_rng(seed), frames, height, width)]


def quality(frames, codec, bits_per_pixel):
    """PSNR in dB."""
    budget = round(bits_per_pixel * frames[0].shape[0] * frames[0].shape[1])
    difference = np.stack(through_codec(frames, codec, bits_per_frame=budget)).astype(float) - np.stack(frames)
    return 10 * np.log10(255**2 / np.mean(difference**2))


@every_codec
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 2), (1, 40, 24), (2, 4, 6), (3, 33, 7), (5, 31, 46), (25, 17, 16)])
def test_codecs_keep_count_and_size_for_any_shape_and_budget(codec, shape):
    frames = drawn(*shape)
    for budget in (1, 700, 1999, 100_000):
        out = through_codec(frames, codec, bits_per_frame=budget)
        assert [frame.shape for frame in out] == [frame.shape for frame in frames]
        assert {frame.dtype for frame in out} == {np.dtype(np.uint8)}


@every_codec
def test_quality_rises_with_the_budget_inside_known_ranges(codec):
    # Gray, because halved chroma costs the same at any budget.
    frames = [np.repeat(frame[..., 1:2], 3, axis=2) for frame in drawn(9, 64, 96)]
    starved, usual, generous = (quality(frames, codec, bits) for bits in (0.03, 1.0, 3.0))
    assert 20 < starved < 31
    assert 35 < usual < 50
    assert usual <= generous < 52


@every_codec
def test_frames_keep_their_order_and_their_colours(codec):
    # Every frame has one colour of its own; mixing up channels, ranges or matrices would shift it.
    colours = np.random.default_rng(0).integers(20, 236, (12, 3))
    frames = [np.full((48, 64, 3), colour, np.uint8) for colour in colours]
    out = np.stack(through_codec(frames, codec, bits_per_frame=60_000))
    assert np.abs(out.mean(axis=(1, 2)) - colours).max() < 5


@every_codec
def test_what_lies_in_memory_does_not_matter(codec):
    noise = np.random.default_rng(0)
    clips = [drawn(3, 20 + 4 * seed, 60 - 4 * seed, seed) for seed in range(6)]
    first = [np.stack(through_codec(clip, codec, bits_per_frame=250)) for clip in clips]
    for _ in range(6):
        for clip, expected in zip(clips, first, strict=True):
            # Freed memory full of other numbers is what the encoder gets next.
            junk = [noise.random(noise.integers(1, 60_000)) for _ in range(3)]
            del junk
            assert np.array_equal(np.stack(through_codec(clip, codec, bits_per_frame=250)), expected)


def test_loose_mpeg4_overspends_and_strict_mpeg4_does_not():
    frames = drawn(9, 64, 96)
    strict, loose = (
        np.stack(through_codec(frames, "mpeg4", bits_per_frame=600, is_strict=is_strict)).astype(float)
        for is_strict in (True, False)
    )
    errors = [np.mean((out - np.stack(frames)) ** 2) for out in (strict, loose)]
    assert errors[1] < 0.95 * errors[0]


def test_missing_encoders_are_named():
    with pytest.raises(UserError, match="libtheora9"):
        check_encoder("libtheora9")
