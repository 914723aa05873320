"""What a rank does in tests/parallel/test_split_restoration.py."""

import functools

import torch

from seedvr2.errors import UserError
from seedvr2.models.codec import LatentCodec
from seedvr2.models.dit import SwinMMDiT
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.parallel.crew import Crew
from seedvr2.parallel.restoration import split_restorer
from seedvr2.restore.shot import ShotRestorer
from tests.parallel.networks import filled, trunk

WINDOW = 3  # latent frames


def restorer() -> ShotRestorer:
    """A small restorer of random weights, the same on every rank."""
    torch.manual_seed(3)
    vae = VideoVAE([8, 8, 8, 8], 1, groups=2)
    generator = filled(SwinMMDiT(trunk=lambda: trunk("3b"), output_norm=True), 1, torch.float32)
    prompt = torch.randn(3, 8, generator=torch.Generator().manual_seed(5))
    networks = [network.eval().requires_grad_(False) for network in (generator, vae)]
    return ShotRestorer(networks[0], LatentCodec(networks[1]), prompt=prompt, window=WINDOW, steps=2)


@functools.cache
def clip(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 12, 28, generator=torch.Generator().manual_seed(count)) * 2 - 1


def led(crew: Crew, shared: ShotRestorer, work) -> object:
    """What a work gives that the main rank does with a shared restorer; the others follow it, and give nothing."""
    split_restorer(shared, crew)
    if not crew.main:
        crew.follow()
        return []
    with crew.leading():
        return work()


def differences(counts: list[int]) -> list[float]:
    """Largest differences of clips restored by all ranks, one after the other, from each restored alone."""
    alone, shared = restorer(), restorer()

    def difference(count: int) -> float:
        ours, whole = list(shared.restore(clip(count))), list(alone.restore(clip(count)))
        assert len(ours) == len(whole) == count
        return float((torch.stack(ours) - torch.stack(whole)).abs().max())

    return led(Crew(torch.device("cpu")), shared, lambda: [difference(count) for count in counts])


def differences_from(first: int, count: int) -> list[float | None]:
    """Differences of each frame of a clip, begun in the middle by all ranks, from one begun there alone; None: none."""
    alone, shared = restorer(), restorer()

    def work() -> list[float | None]:
        both = (model.restore(clip(count)[first:], first=first) for model in (shared, alone))
        return [None if a is b is None else float((a - b).abs().max()) for a, b in zip(*both, strict=True)]

    return led(Crew(torch.device("cpu")), shared, work)


def clips_that_remain(count: int) -> tuple[float | None, int]:
    """Interleaved and abandoned clips: how far the finished one is off (main rank), and how many histories are kept."""
    whole, shared, crew = list(restorer().restore(clip(count))), restorer(), Crew(torch.device("cpu"))
    split_restorer(shared, crew)
    histories = crew.works["encode"].__self__.clips
    if not crew.main:
        crew.follow()
        return None, len(histories)
    with crew.leading():
        left = shared.restore(clip(count + 8))
        next(left)
        ours = []
        for number, frame in enumerate(shared.restore(clip(count))):
            ours.append(frame)
            if number == 3:
                left.close()
                del left
        off = float((torch.stack(ours) - torch.stack(whole)).abs().max())
        list(shared.restore(clip(1)))
    return off, len(histories)


def mistakes() -> list[str]:
    """Sentences of mistakes that one rank has, as every rank hears them."""
    crew, heard = Crew(torch.device("cpu")), []

    def wrong(rank: int) -> None:
        if crew.rank == rank:
            raise UserError("this is wrong")

    for rank in range(crew.world):
        try:
            crew.agreed(functools.partial(wrong, rank))
        except UserError as error:
            heard.append(str(error))
    return heard
