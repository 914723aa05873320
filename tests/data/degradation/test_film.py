"""Properties of worn film: grain has its strength and size, dust stays near its specks, scratches run downwards."""

import numpy as np
import pytest

from seedvr2.data.degradation.draw import Draw
from seedvr2.data.degradation.film import CORNERS, REFERENCE, Dust, Grain, Scratches


def applied(operation, clip, seed=0):
    """The result and the recorded parameters."""
    draw = Draw(np.random.default_rng(seed), (1, 1))
    out = operation(clip, draw)
    assert out.dtype == np.float32
    assert out.shape == clip.shape
    (entry,) = draw.record
    return out, entry


def flat(value=0.5, frames=3, height=REFERENCE, width=96):
    return np.full((frames, height, width, 3), value, np.float32)


def grain(value=0.5, *, sigma=10.0, size=0.0, height=REFERENCE):
    clip = flat(value, height=height)
    return applied(Grain(sigma=(sigma, sigma), size=(size, size)), clip)[0] - clip


@pytest.mark.parametrize("size", [0.0, 0.5, 1.5])
def test_grain_has_its_strength_at_middle_brightness_whatever_its_size(size):
    noise = grain(sigma=10, size=size)
    assert noise.std() * 255 == pytest.approx(10, rel=0.01)
    assert abs(noise.mean()) * 255 < 0.5


def test_grain_is_weaker_in_shadows_and_highlights():
    middle, black, white = (grain(value).std() for value in (0.5, 0.0, 1.0))
    assert black == pytest.approx(np.sqrt(0.1) * middle, rel=0.02)
    assert white == pytest.approx(black, rel=0.02)


def test_grain_is_gray_and_new_in_every_frame():
    noise = grain(size=1)
    assert np.abs(noise - noise[..., :1]).max() < 1e-6
    assert abs(np.corrcoef(noise[0, ..., 0].ravel(), noise[1, ..., 0].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize(("size", "height"), [(0.6, REFERENCE), (1.0, REFERENCE), (0.5, 2 * REFERENCE)])
def test_grains_are_as_large_as_said_and_grow_with_the_picture(size, height):
    noise = grain(size=size, height=height)[..., 0]
    neighbours = np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]
    blur = size * height / REFERENCE
    assert neighbours == pytest.approx(np.exp(-1 / (4 * blur**2)), abs=0.06)


def test_dust_changes_only_what_is_near_a_speck():
    clip = flat(frames=12, height=240, width=320)
    out, entry = applied(Dust(count=(2, 2)), clip)
    rows, columns = np.mgrid[:240, :320]
    numbers = [len(specks) for specks in entry["specks"]]
    assert 0 in numbers
    assert max(numbers) > 2
    for frame, specks in zip(out, entry["specks"], strict=True):
        is_near = np.zeros((240, 320), bool)
        for speck in specks:
            reach = speck["size"] * 240 / REFERENCE * (CORNERS if speck["hair"] else 1.1) + 4
            x, y = speck["place"][0] * 320, speck["place"][1] * 240
            is_near |= (columns - x) ** 2 + (rows - y) ** 2 < reach**2
        assert np.array_equal(frame[~is_near], clip[0][~is_near])
        assert bool(specks) == bool((frame != 0.5).any())


def test_dust_has_its_mean_number_and_is_mostly_dark():
    _, entry = applied(Dust(count=(5, 5)), flat(frames=200, height=24, width=32))
    specks = [speck for frame in entry["specks"] for speck in frame]
    assert len(specks) / 200 == pytest.approx(5, rel=0.1)
    for name, low, high in (("size", 0.7, 6), ("opacity", 0.4, 1)):
        values = [speck[name] for speck in specks]
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high
    assert np.mean([speck["shade"] < 0.5 for speck in specks]) == pytest.approx(0.65, abs=0.06)
    assert np.mean([speck["hair"] for speck in specks]) == pytest.approx(0.2, abs=0.05)


def test_specks_grow_with_the_picture():
    shares = []
    for height in (80, 240, 480, 960):
        clip = flat(frames=8, height=height, width=height)
        out, _ = applied(Dust(count=(3, 3), size=(4, 4), opacity=(1, 1)), clip)
        shares.append(np.abs(out - clip).mean() / 0.45)
    # Three specks of radius 0.8 · 4 / 480 of the height on average, some of them hairs.
    assert shares == pytest.approx([3 * np.pi * (0.8 * 4 / REFERENCE) ** 2] * 4, rel=0.6)
    assert max(shares) < 1.3 * min(shares)


def test_scratches_run_down_the_whole_picture_where_recorded():
    clip = flat(frames=6, height=REFERENCE, width=200)
    out, entry = applied(Scratches(count=(3, 3), width=(2, 2)), clip)
    change = np.abs(out - clip)
    assert np.ptp(out, axis=1).max() == 0
    assert len(entry["lines"]) == 3
    columns = np.arange(200)
    for time in range(6):
        is_near = np.any([np.abs(columns - line["x"][time]) < 6 for line in entry["lines"]], axis=0)
        assert not change[time][:, ~is_near].any()
    assert change.max() > 0.05


def test_scratches_wander_a_little_and_stay_in_their_range():
    _, entry = applied(Scratches(count=(4, 4), opacity=(0.5, 0.5), wander=0.5), flat(frames=200, width=200))
    for line in entry["lines"]:
        assert np.std(np.diff(line["x"])) == pytest.approx(0.5, rel=0.2)
        assert min(line["opacity"]) >= 0
        assert max(line["opacity"]) <= 0.5
        assert np.ptp(line["opacity"]) > 0.1


@pytest.mark.parametrize("operation", [Grain(), Dust(), Scratches()])
def test_any_size_is_kept_equal_seeds_are_equal_and_inputs_stay(operation):
    for shape in ((1, 1, 1), (2, 3, 40), (1, 70, 2)):
        clip = np.random.default_rng(1).random((*shape, 3), dtype=np.float32)
        before = clip.copy()
        first, again = applied(operation, clip, 3)[0], applied(operation, clip, 3)[0]
        assert np.array_equal(first, again)
        assert np.array_equal(clip, before)


@pytest.mark.parametrize("kind", [Grain, Dust, Scratches])
def test_nothing_happens_at_probability_zero(kind):
    clip, draw = flat(height=8, width=8), Draw(np.random.default_rng(0), (1, 1))
    assert kind(0.0)(clip, draw) is clip
    assert draw.record == []
