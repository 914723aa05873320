import itertools

import pytest
import torch

from seedvr2.errors import UserError
from seedvr2.restore.stream import decoded, encoded, frame_groups, latent_noise, windowed


def numbered(count):
    return [torch.full((3, 16, 16), float(index)) for index in range(count)]


@pytest.mark.parametrize("latents", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 6, 9, 12, 13, 17, 22])
def test_groups_are_causal_sizes_and_lose_no_frame(count, latents):
    groups = list(frame_groups(numbered(count), latents=latents))
    sizes = [len(group) for group in groups]
    assert all(size % 4 == (index == 0) for index, size in enumerate(sizes))
    frames = [int(frame[0, 0, 0]) for group in groups for frame in group]
    assert frames[:count] == list(range(count))
    assert len(frames) - count <= 3
    assert set(frames[count:]) <= {count - 1}
    assert count != 1 or sizes == [1]


def test_noise_of_a_latent_depends_on_its_position_only():
    whole = latent_noise(7, "noise", 0, (6, 2, 4, 16))
    assert torch.equal(latent_noise(7, "noise", 2, (3, 2, 4, 16)), whole[2:5])
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(latent_noise(8, "noise", 0, (1, 2, 4, 16))[0], whole[0])
    assert not torch.equal(latent_noise(7, "posterior", 0, (1, 2, 4, 16))[0], whole[0])
    assert abs(float(whole.mean())) < 0.1
    assert abs(float(whole.std()) - 1) < 0.1


@pytest.mark.parametrize(("window", "overlap"), [(5, 1), (1, 0), (4, 2), (3, 0), (50, 1)])
@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 6, 7, 9, 10, 13])
def test_windows_return_every_latent_in_order(count, window, overlap):
    latents = [torch.full((2, 2, 16), float(index)) for index in range(count)]
    spans = []

    def restore(lq, position):
        assert float(lq[0, 0, 0, 0]) == position
        spans.append((position, position + len(lq)))
        return lq

    results = list(windowed(latents, restore, window=window, overlap=overlap))
    assert torch.equal(torch.stack(results), torch.stack(latents)) if count else not results
    assert all(stop - start == window for start, stop in spans[:-1])
    assert all(after[0] == before[1] - overlap for before, after in itertools.pairwise(spans))
    assert not spans or overlap < spans[-1][1] - spans[-1][0] <= window or len(spans) == 1


def test_overlaps_fade_linearly_from_one_window_to_the_next():
    latents = [torch.zeros(1, 1, 16) for _ in range(7)]
    calls = itertools.count()
    results = windowed(latents, lambda lq, position: lq + 3 * next(calls), window=5, overlap=2)
    assert [float(latent.mean()) for latent in results] == pytest.approx([0, 0, 0, 1, 2, 3, 3])


@pytest.mark.parametrize(("window", "overlap"), [(0, 0), (5, 3), (1, 1), (5, -1)])
def test_windows_that_cannot_fade_are_the_users_mistake(window, overlap):
    with pytest.raises(UserError, match="cannot overlap"):
        list(windowed([], lambda lq, position: lq, window=window, overlap=overlap))


@pytest.mark.parametrize("latents", [1, 2, 4])
def test_streamed_autoencoder_equals_the_whole_clip(codec, latents):
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand((13, 3, 16, 32), generator=generator) * 2 - 1
    whole = codec.encode(frames, noise=latent_noise(5, "posterior", 0, (4, 2, 4, 16)))
    streamed = list(encoded(frames, codec, seed=5, latents=latents))
    assert torch.allclose(torch.stack(streamed), whole, atol=2e-5)
    pictures = list(decoded(streamed, codec, count=latents))
    assert torch.allclose(torch.stack(pictures), codec.decode(whole), atol=2e-5)


def test_posterior_noise_is_used_unless_the_mean_is_asked_for(codec, monkeypatch):
    frames = [torch.zeros(3, 16, 16)]
    sampled = [next(encoded(frames, codec, seed=seed)) for seed in (0, 1)]
    assert not torch.equal(*sampled)
    monkeypatch.setattr(codec, "posterior", "mean")
    assert torch.equal(*[next(encoded(frames, codec, seed=seed)) for seed in (0, 1)])
