"""Histories that wait on the host: where they lie when, and that neither place holds all of them on the way."""

import pytest
import torch

from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.causal import Carry
from seedvr2.models.vae.inference import InferenceVAE, Tiling, network
from seedvr2.models.vae.inference.parking import change_places
from tests.pretended import pretended_gpu

PARKED = Tiling(parks=True)


@pytest.fixture
def vae() -> VideoVAE:
    return VideoVAE([8, 16, 32, 32], 1, groups=4).eval().requires_grad_(False)


def held(histories: list[Carry], device: str) -> list[int]:
    """Bytes of what lies on a device, layer by layer."""
    tails = [history.tail(layer) for history in histories for layer in history.layers()]
    return [tail.nbytes for tail in tails if tail.device.type == device]


def places(history: Carry) -> set[str]:
    return {history.tail(layer).device.type for layer in history.layers()}


def test_the_history_of_a_call_comes_and_those_of_other_streams_leave(vae, monkeypatch):
    calls = []
    monkeypatch.setattr(network, "change_places", lambda leaving, coming, device: calls.append((set(leaving), coming)))
    vae = InferenceVAE(vae)
    x, z, frames, latents, other = torch.zeros(1, 3, 1, 16, 16), torch.zeros(1, 16, 1, 2, 2), Carry(), Carry(), Carry()
    vae.encode(x, frames)
    assert calls == []
    vae.tiling = PARKED
    vae.encode(x, other)
    assert calls.pop() == ({frames}, other)
    del other
    vae.decode(z, latents)
    assert calls.pop() == ({frames}, latents)
    vae.encode(x.expand(1, 3, 4, 16, 16), frames)
    assert calls == [({latents}, frames)]


@pytest.mark.parametrize(
    "sizes",
    [
        ((5, 1, 3), (2, 2, 2, 2)),
        ((1,) * 9, (1,) * 9),
        ((4, 4, 2, 2, 1), (1, 2, 2, 4, 4, 4)),
        ((1, 1), (7, 1)),
        ((7, 1), (1,)),
        ((), (3, 2)),
        ((4,), ()),
    ],
)
def test_neither_place_holds_both_on_the_way(sizes, monkeypatch):
    with pretended_gpu():
        leaving, coming = Carry(), Carry()
        for history, rows, device in zip((leaving, coming), sizes, ("cuda", "cpu"), strict=True):
            for count in rows:
                history.keep(torch.nn.Identity(), torch.empty(count, device=device))
        both, keep, seen = [leaving, coming], Carry.keep, []
        before = [sum(held(both, device)) for device in ("cuda", "cpu")]

        def noted(self, layer, tail):
            keep(self, layer, tail)
            seen.append([sum(held(both, device)) for device in ("cuda", "cpu")])

        monkeypatch.setattr(Carry, "keep", noted)
        change_places([leaving], coming, torch.empty(0, device="cuda").device)
        assert (places(leaving), places(coming)) == ({"cpu"} if sizes[0] else set(), {"cuda"} if sizes[1] else set())
        after, largest = [sum(held(both, device)) for device in ("cuda", "cpu")], 4 * max(map(max, filter(None, sizes)))
        for device in range(2):
            assert max(found[device] for found in seen) <= max(before[device], after[device]) + largest
        if sizes[0] == (4, 4, 2, 2, 1):  # as tails of encoder and decoder are ordered
            assert max(found[1] for found in seen) <= max(before[1], after[1])


@torch.no_grad()
def test_the_network_works_with_what_has_moved(vae, monkeypatch):
    def move(leaving, coming, device):
        for history in (*leaving, coming):
            for layer in history.layers():
                old = history.tail(layer)
                history.keep(layer, old.clone())
                old.fill_(torch.nan)

    monkeypatch.setattr(network, "change_places", move)
    x, z = torch.randn(1, 3, 9, 32, 32), torch.randn(1, 16, 3, 4, 4)
    fast, frames, latents, made = InferenceVAE(vae, PARKED), Carry(), Carry(), []
    for at in range(2):
        mean = fast.encode(x[:, :, 5 * at : 5 + 4 * at], frames).mean
        made.append((mean, fast.decode(z[:, :, 2 * at : 2 + at], latents)))
    means, pictures = zip(*made, strict=True)
    torch.testing.assert_close(torch.cat(means, dim=2), vae.encode(x).mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.cat(pictures, dim=2), vae.decode(z), rtol=1e-5, atol=1e-5)


def test_all_leave_where_they_may(vae):
    with pretended_gpu():
        history = Carry()
        history.keep(torch.nn.Identity(), torch.empty(3, device="cuda"))
        fast = InferenceVAE(vae)
        fast._histories.add(history)
        for tiling, place in ((Tiling(), "cuda"), (PARKED, "cpu")):
            fast.tiling = tiling
            fast.leave()
            assert places(history) == {place}


@pytest.mark.gpu
def test_parking_changes_no_result_on_a_gpu(vae):
    x, z = torch.randn(1, 3, 9, 32, 32).cuda(), torch.randn(1, 16, 4, 4, 4).cuda()
    made = []
    for tiling in (Tiling(), PARKED):
        fast, frames, latents = InferenceVAE(vae.to("cuda"), tiling), Carry(), Carry()
        for at in range(2):
            made.append(fast.encode(x[:, :, 5 * at : 5 + 4 * at], frames).mean)
            made.append(fast.decode(z[:, :, 2 * at : 2 + 2 * at], latents))
    assert all(torch.equal(*pair) for pair in zip(made[:4], made[4:], strict=True))
