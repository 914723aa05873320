"""Temporal parallelism of the frozen VAE: each peer takes some frames of a clip; the past is its neighbour's."""

import itertools
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from seedvr2.models.codec import LatentCodec
from seedvr2.models.vae.autoencoder import TIME
from seedvr2.parallel.collectives import gathered


class Neighbour:
    """A history whose past is what the previous rank's chunk ends with, at every causal layer.

    One `Neighbour` serves one clip, in one round or several: in each, the first ranks hold chunks in a row, and at the
    start of the next one the first rank gets what the last chunk ended with. All of them run the same layers, so each
    layer is one exchange between neighbours; without gradients.
    """

    def __init__(self, group: dist.ProcessGroup):
        self.group, self.me = group, group.rank()
        self.ranks = dist.get_process_group_ranks(group)
        self.rounds = self.peers = 0
        self.tails: dict[nn.Module, Tensor] = {}  # of the last chunk, in the order of the layers; then the first rank's

    @property
    def first_round(self) -> bool:
        """Whether the coming or running round has the first frames of the clip."""
        return self.rounds < 2

    def start_round(self, peers: int | None = None) -> None:
        """All ranks have done their part of the round before, if there was one. peers: ranks with a chunk; None: all.

        A rank without a chunk starts rounds as well.
        """
        if self.rounds and self.peers > 1:
            if self.me == self.peers - 1:
                for tail in self.tails.values():
                    dist.send(tail, self.ranks[0], group=self.group)
            elif self.me == 0:
                for layer, tail in self.tails.items():
                    self.tails[layer] = torch.empty_like(tail)  # the one before may still be in use
                    dist.recv(self.tails[layer], self.ranks[self.peers - 1], group=self.group)
        self.rounds += 1
        self.peers = len(self.ranks) if peers is None else peers

    def is_start(self, layer: nn.Module) -> bool:
        """Whether this rank has the first frames of the clip."""
        return self.me == 0 and self.first_round

    def before(self, layer: nn.Module, x: Tensor, frames: int) -> Tensor | None:
        """Receive the last `frames` input frames of the previous rank, and pass on this rank's."""
        x = x.movedim(1, -1)  # (B, T, H, W, C), which is their order in memory
        past = None if self.me or self.first_round else self.tails[layer]
        short = x.shape[1] < frames  # then what goes on includes what came
        sending = None if short else self._pass_on(layer, x[:, -frames:])
        if self.me:
            past = x.new_empty(x.shape[0], frames, *x.shape[2:])
            dist.recv(past, self.ranks[self.me - 1], group=self.group)
        if short:
            earlier = [x[:, :1]] * (frames - x.shape[1]) if past is None else [past]
            sending = self._pass_on(layer, torch.cat([*earlier, x], dim=1)[:, -frames:])
        if sending is not None:
            sending[0].wait()
        return past if past is None else past.movedim(-1, 1)

    def _pass_on(self, layer: nn.Module, tail: Tensor) -> tuple[dist.Work, Tensor] | None:
        if self.me == self.peers - 1:
            self.tails[layer] = tail.contiguous().clone()
            return None
        if self.me == 0 and layer not in self.tails:
            self.tails[layer] = tail.new_empty(tail.shape)
        tail = tail.contiguous()
        return dist.isend(tail, self.ranks[self.me + 1], group=self.group), tail  # the tensor lives until it is sent


Work = Callable[[range, Neighbour], Tensor]  # latent frames of a clip, with what came before them


class SplitCodec:
    """A codec whose clips are encoded and decoded by all peers together; results are whole on each of them.

    Each peer takes up to `codec.chunk` latent frames at a time, None: its whole share.
    """

    def __init__(self, codec: LatentCodec, group: dist.ProcessGroup):
        self.codec, self.vae, self.group = codec, codec.vae, group

    def encode(self, frames: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """As `LatentCodec.encode` of a whole clip of 4k + 1 frames."""
        latents = (len(frames) - 1) // TIME + 1
        if latents < self.group.size():
            return self.codec.encode(frames, noise=noise)

        def piece(mine: range, history: Neighbour) -> Tensor:
            begin = 0 if mine.start == 0 else TIME * mine.start - TIME + 1
            part = noise if noise is None else noise[mine.start : mine.stop]
            return self.codec.encode(frames[begin : TIME * mine.stop - TIME + 1], history=history, noise=part)

        return self._in_rounds(latents, len, piece)

    def decode(self, latent: Tensor) -> Tensor:
        """As `LatentCodec.decode` of a whole clip."""
        if len(latent) < self.group.size():
            return self.codec.decode(latent)

        def frames_of(part: range) -> int:
            return TIME * len(part) - (TIME - 1 if part.start == 0 else 0)

        def piece(mine: range, history: Neighbour) -> Tensor:
            return self.codec.decode(latent[mine.start : mine.stop], history=history)

        return self._in_rounds(len(latent), frames_of, piece)

    def _in_rounds(self, latents: int, frames_of: Callable[[range], int], work: Work) -> Tensor:
        history, done = Neighbour(self.group), []
        for parts in rounds(latents, self.group.size(), self.codec.chunk):
            history.start_round()
            piece = work(parts[self.group.rank()], history)
            done.append(self._whole(piece, [frames_of(part) for part in parts]))
        return torch.cat(done)

    def _whole(self, piece: Tensor, counts: list[int]) -> Tensor:
        longest = max(counts)
        mine = piece.new_zeros(longest, *piece.shape[1:])
        mine[: len(piece)] = piece
        pieces = gathered(mine, self.group).split(longest)
        return torch.cat([part[:count] for part, count in zip(pieces, counts, strict=True)])


def rounds(latents: int, peers: int, chunk: int | None) -> list[list[range]]:
    """Split latent frames, at least one per peer, into rounds of one range per peer.

    No range is longer than `chunk` (None: there is one round), unless some peer would have none.
    """
    count = 1 if chunk is None else max(1, min(-(-latents // (peers * chunk)), latents // peers))
    cuts = [i * latents // (count * peers) for i in range(count * peers + 1)]
    ranges = [range(a, b) for a, b in itertools.pairwise(cuts)]
    return [ranges[i : i + peers] for i in range(0, len(ranges), peers)]
