"""DOVER looks at the frames and patches that the official sampler may draw, the same ones every time."""

import math

import numpy as np
import pytest
import torch

from seedvr2.evaluation import dover
from seedvr2.evaluation.contract import Clip, Settings, Unavailable
from seedvr2.evaluation.dover import Dover, draw_fragments, enlarged, splice
from seedvr2.evaluation.dover_network import Technical


class Mean(torch.nn.Module):
    """Stands in for the network: remembers what it sees and scores its mean."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, video):
        self.seen.append(video)
        return video.mean()[None] / 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A weight file like the released one: both branches, random."""
    folder = tmp_path_factory.mktemp("weights")
    state = Technical().state_dict()
    torch.save(state | {"aesthetic_head.fc_last.bias": torch.zeros(1)}, folder / "DOVER.pth")
    return folder


@pytest.fixture
def metric(folder):
    """The metric, with a stand-in for the network, which is slow."""
    metric = Dover(Settings(weights_dir=folder))
    metric.network = Mean()
    return metric


def feed(metric, frames, name="clip"):
    metric.start(Clip(name, len(frames), *frames.shape[1:3]))
    for frame in frames:
        metric.add(frame)
    return metric.result()


def clip(count, height=240, width=300, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def test_a_long_clip_gives_three_stretches_of_32_frames_with_stride_2():
    frames = draw_fragments(Clip("long", 300, 720, 1280), 0).frames
    assert frames.shape == (3, 32)
    assert np.all(np.diff(frames, axis=1) == 2)
    for number, start in enumerate(frames[:, 0]):
        assert 100 * number <= start < 100 * number + 36


def test_starts_are_fixed_up_to_64_frames_a_stretch_and_numbers_wrap_around():
    frames = draw_fragments(Clip("short", 31, 720, 1280), 0).frames
    assert frames[:, 0].tolist() == [0, 10, 20]
    assert frames[2].tolist() == [(20 + 2 * place) % 31 for place in range(32)]
    assert draw_fragments(Clip("still", 1, 720, 1280), 0).frames.max() == 0


def test_each_patch_lies_in_its_cell_of_the_grid():
    fragments = draw_fragments(Clip("clip", 96, 720, 1280), 3)
    for axis, cell in ((0, 720 // 7), (1, 1280 // 7)):
        numbers = np.arange(7)[:, None] if axis == 0 else np.arange(7)
        inside = fragments.corners[..., axis] - numbers * cell
        assert inside.min() >= 0
        assert inside.max() < cell - 32
        assert len(np.unique(inside)) > 20


def test_draws_follow_from_the_seed_and_the_name():
    size = 300, 720, 1280
    first = draw_fragments(Clip("a", *size), 0)
    assert all(np.array_equal(x, y) for x, y in zip(first, draw_fragments(Clip("a", *size), 0), strict=True))
    for other in (draw_fragments(Clip("b", *size), 0), draw_fragments(Clip("a", *size), 1)):
        assert not np.array_equal(first.corners, other.corners)


def test_the_network_sees_normalised_patches_of_the_drawn_frames(metric):
    frames = clip(40)
    feed(metric, frames)
    fragments = draw_fragments(Clip("clip", 40, 240, 300), 0)
    assert [tuple(video.shape) for video in metric.network.seen] == [(1, 3, 32, 224, 224)] * 3
    top, left = fragments.corners[1, 2, 4]
    source = frames[fragments.frames[1, 9], top : top + 32, left : left + 32]
    expected = (source - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])
    found = metric.network.seen[1][0, :, 9, 64:96, 128:160].permute(1, 2, 0).numpy()
    assert np.allclose(found, expected, atol=1e-5)


def test_the_score_is_the_rescaled_sigmoid_of_the_mean_of_the_three_stretches(metric):
    score = feed(metric, clip(100))
    raw = np.mean([float(video.mean()) / 100 for video in metric.network.seen])
    assert score == pytest.approx(100 / (1 + math.exp(-(raw - 0.1107) / 0.07355)))
    assert 0 < score < 100


def test_frames_below_224_are_enlarged_but_keep_the_grid_of_their_size(metric):
    small = clip(3, height=112, width=140)
    assert enlarged(torch.from_numpy(small[0])).shape == (224, 280, 3)
    feed(metric, small)
    corners = draw_fragments(Clip("clip", 3, 112, 140), 0).corners
    assert corners.max() <= 140 - 32
    expected = splice(enlarged(torch.from_numpy(small[0])), corners[0])
    mean, spread = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    assert torch.allclose(metric.network.seen[0][0, :, 0].permute(1, 2, 0), (expected - mean) / spread, atol=1e-5)


def test_frames_smaller_than_a_patch_have_no_score(metric):
    assert feed(metric, clip(2, height=31)) is None
    assert feed(metric, clip(2, height=32)) is not None


def test_the_real_network_scores_a_clip_repeatably(folder, monkeypatch):
    monkeypatch.setattr(dover, "FRAMES", 4)  # 32 in earnest, slow here
    frames = clip(12)
    metric = Dover(Settings(weights_dir=folder))
    score = feed(metric, frames)
    assert 0 <= score <= 100
    assert feed(metric, frames) == score
    assert metric.facts.weights.startswith("DOVER.pth sha256:")


def test_a_missing_file_a_torn_one_and_one_of_another_network_are_named(tmp_path):
    with pytest.raises(Unavailable, match=f"DOVER.pth is missing.*{tmp_path}"):
        Dover(Settings(weights_dir=tmp_path))
    (tmp_path / "DOVER.pth").write_bytes(b"half a file")
    with pytest.raises(Unavailable, match=r"DOVER.pth is no readable weight file"):
        Dover(Settings(weights_dir=tmp_path))
    torch.save({"technical_head.fc_last.bias": torch.zeros(1)}, tmp_path / "DOVER.pth")
    with pytest.raises(Unavailable, match=r"does not fit"):
        Dover(Settings(weights_dir=tmp_path))
