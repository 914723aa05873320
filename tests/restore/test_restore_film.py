"""A film is its shots, each as if it were alone, and can be continued at any frame."""

import weakref

import numpy as np
import pytest
import torch

from seedvr2.errors import UserError
from seedvr2.io.picture import Picture
from seedvr2.restore.film import Identity, numbered, restored
from seedvr2.restore.shot import ShotRestorer


def shot(frames: int, seed: int) -> list[Picture]:
    """Slowly changing pictures 24x32 of one scene."""
    rng = np.random.default_rng(seed)
    base, change = rng.integers(0, 256, (2, 3, 4, 3))
    pictures = [np.clip(base + change * 0.1 * number / frames, 0, 255) for number in range(frames)]
    large = [np.kron(small, np.ones((8, 8, 1))).astype(np.uint8) for small in pictures]
    return [Picture(rgb, pts=number) for number, rgb in enumerate(large)]


def resize(rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(rgb.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)


@pytest.fixture
def restorer(generator, codec, prompt):
    return ShotRestorer(generator, codec, prompt=prompt, window=3)


def results(pictures, restorer, cuts=None, **settings) -> list[torch.Tensor]:
    return [step.restored for step in restored(numbered(pictures, cuts), restorer, resize, **settings)]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_clips_joined_by_a_cut_come_out_as_each_alone(restorer):
    one, two = shot(13, 1), shot(10, 2)
    assert same(results(one + two, restorer), results(one, restorer) + results(two, restorer))


def test_cuts_can_be_given_and_none_means_one_shot(restorer):
    clip = shot(14, 1)
    assert same(results(clip, restorer, [5]), results(clip[:5], restorer, []) + results(clip[5:], restorer, []))
    assert not same(results(clip, restorer, [5]), results(clip, restorer, []))
    with pytest.raises(UserError, match="frame 14 lies beyond the 14 frames"):
        results(clip, restorer, [14])


@pytest.mark.parametrize("done", [0, 1, 12, 13, 14, 22, 30])
def test_a_film_goes_on_at_any_frame_with_the_same_results(restorer, done):
    clip = shot(13, 1) + shot(10, 2) + shot(8, 3)
    whole = results(clip, restorer)
    beginning = max(start for start in (0, 13, 23) if start <= max(done - 1, 0))
    assert same(results(clip, restorer, done=done, shot=beginning), whole[done:])


def test_numbers_and_shots_are_those_of_the_film(restorer):
    clip = shot(6, 1) + shot(7, 2)
    steps = list(restored(numbered(clip), restorer, resize))
    assert [step.frame.number for step in steps] == list(range(13))
    assert [step.frame.shot for step in steps] == [0] * 6 + [6] * 7
    assert all(step.frame.picture is picture for step, picture in zip(steps, clip, strict=True))
    assert all(torch.equal(step.lq, resize(picture.rgb)) for step, picture in zip(steps, clip, strict=True))


def test_a_long_film_is_never_held(restorer):
    held = []

    def pictures():
        for number in range(60):
            held.append(number)
            yield shot(1, number // 20)[0]._replace(pts=number)

    furthest = 0
    for step in restored(numbered(pictures()), restorer, resize):
        furthest = max(furthest, held[-1] - step.frame.number)
    assert held[-1] == 59
    assert furthest < 20


@pytest.mark.parametrize("model", ["identity", "networks"])
def test_frames_that_are_done_are_let_go(restorer, model):
    alive: weakref.WeakSet = weakref.WeakSet()

    def noted(rgb: np.ndarray) -> torch.Tensor:
        frame = resize(rgb)
        alive.add(frame)
        return frame

    pictures = (shot(1, 5)[0] for _ in range(90))
    most = 0
    for _ in restored(numbered(pictures, []), Identity() if model == "identity" else restorer, noted):
        most = max(most, len(alive))
    assert most < 20  # a window and what fades into the next


def test_the_identity_changes_nothing_whatever_the_depth():
    deep = [Picture((picture.rgb.astype(np.uint16) * 257), pts=0) for picture in shot(9, 4)]
    assert same(results(deep, Identity(), done=4, shot=0), [resize(picture.rgb) for picture in deep][4:])
