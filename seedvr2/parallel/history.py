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

    One `Neighbour` serves one clip, in one round or several: in each, the ranks hold chunks in a row, and after it
    `next_round` hands what the last rank's chunk ends with to the first. All peers run the same layers, so each layer
    is one exchange between neighbours; without gradients.
    """

    def __init__(self, group: dist.ProcessGroup):
        ranks = dist.get_process_group_ranks(group)
        me = group.rank()
        self.group, self.ends = group, (ranks[0], ranks[-1])
        self.before_me = ranks[me - 1] if me else None
        self.after_me = ranks[me + 1] if me + 1 < len(ranks) else None
        self.first_round = True
        self.tails: dict[nn.Module, Tensor] = {}  # of the last rank, in the order of the layers; then the first rank's

    def is_start(self, layer: nn.Module) -> bool:
        """Whether this rank has the first frames of the clip."""
        return self.before_me is None and self.first_round

    def before(self, layer: nn.Module, x: Tensor, frames: int) -> Tensor | None:
        """Receive the last `frames` input frames of the previous rank, and pass on this rank's."""
        short = x.shape[2] < frames  # then what goes on includes what came
        sending = None if short else self._pass_on(layer, x[:, :, -frames:])
        past = None
        if self.before_me is not None:
            past = x.new_empty(*x.shape[:2], frames, *x.shape[3:])
            dist.recv(past, self.before_me, group=self.group)
        elif self.first_round:
            self.tails[layer] = x.new_empty(*x.shape[:2], frames, *x.shape[3:])
        else:
            past = self.tails[layer]
        if short:
            earlier = [x[:, :, :1]] * (frames - x.shape[2]) if past is None else [past]
            sending = self._pass_on(layer, torch.cat([*earlier, x], dim=2)[:, :, -frames:])
        if sending is not None:
            sending[0].wait()
        return past

    def next_round(self) -> None:
        """All ranks have run their chunks, and go on with those that follow."""
        self.first_round = False
        first, last = self.ends
        for layer, tail in self.tails.items():
            if self.after_me is None:
                dist.send(tail, first, group=self.group)
            else:
                self.tails[layer] = torch.empty_like(tail)  # what the generation before holds may still be in use
                dist.recv(self.tails[layer], last, group=self.group)

    def _pass_on(self, layer: nn.Module, tail: Tensor) -> tuple[dist.Work, Tensor] | None:
        if self.after_me is None:
            self.tails[layer] = tail.contiguous().clone()
            return None
        tail = tail.contiguous()
        return dist.isend(tail, self.after_me, group=self.group), tail  # the tensor must live until it is sent


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
            if done:
                history.next_round()
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
