"""One clip restored by several ranks: attached to a restorer of shots, which knows nothing of it.

The main rank runs the stream of frames as it would alone; whenever it calls the codec or the generator, all ranks do
the work together. Each takes some latent frames of a chunk of the autoencoder, and some tokens or heads of a window of
the generator. Memory stays bounded as in one process.
"""

import functools
import itertools
import weakref
from collections import deque

import torch
import torch.distributed as dist
from torch import Tensor

from seedvr2.models.codec import LatentCodec
from seedvr2.models.vae.autoencoder import TIME
from seedvr2.models.vae.causal import History
from seedvr2.parallel.crew import Crew
from seedvr2.parallel.history import Neighbour
from seedvr2.parallel.sequence import split_sequence


def split_restorer(shot, crew: Crew) -> None:
    """Let the crew share the work of a `ShotRestorer`, which every rank has loaded alike."""
    split_sequence(shot.generation.generator, dist.group.WORLD)
    share = Share(shot.codec, dist.group.WORLD)
    crew.works |= {"encode": share.encode, "decode": share.decode, "generate": shot.generation}
    if crew.main:
        shot.codec = CrewCodec(shot.codec, crew)
        shot.generation = functools.partial(crew.call, "generate")
        shot.chunk *= crew.world


class CrewCodec:
    """The codec of the main rank: all ranks encode and decode its chunks together."""

    def __init__(self, codec: LatentCodec, crew: Crew):
        self.vae, self._crew = codec.vae, crew
        self._number = itertools.count()
        self._clips: weakref.WeakKeyDictionary[History, int] = weakref.WeakKeyDictionary()
        self._ended: deque[int] = deque()

    def encode(self, frames: Tensor, *, history: History, noise: Tensor | None = None) -> Tensor:
        """As `LatentCodec.encode`; `history` stands for the clip and stays as it is."""
        return self._crew.call("encode", frames, noise, *self._clip(history))

    def decode(self, latent: Tensor, *, history: History) -> Tensor:
        """As `LatentCodec.decode`; `history` stands for the clip and stays as it is."""
        return self._crew.call("decode", latent, *self._clip(history))

    def _clip(self, history: History) -> tuple[int, tuple[int, ...]]:
        """The number of a clip, and of those that have ended since the last call."""
        if history not in self._clips:
            self._clips[history] = next(self._number)
            weakref.finalize(history, self._ended.append, self._clips[history])
        return self._clips[history], tuple(self._ended.popleft() for _ in range(len(self._ended)))


class Share:
    """A rank's part in the chunks of all clips; results are whole on the first rank, and None on the others."""

    def __init__(self, codec: LatentCodec, group: dist.ProcessGroup):
        self.codec, self.group = codec, group
        self.clips: dict[int, Neighbour] = {}

    @torch.no_grad()
    def encode(self, frames: Tensor, noise: Tensor | None, clip: int, ended: tuple[int, ...]) -> Tensor | None:
        """Encode the next chunk of a clip, as `LatentCodec.encode`. ended: clips that will not go on."""
        history = self._history(clip, ended)
        parts = shares(-(-len(frames) // TIME), self.group.size(), joined=not history.rounds)
        mine = self._begin(history, parts)
        piece = None
        if mine:
            part = noise if noise is None else noise[mine.start : mine.stop]
            held = slice(*(frames_until(latent, history) for latent in (mine.start, mine.stop)))
            piece = self.codec.encode(frames[held], history=history, noise=part)
        return self._whole(piece, [len(part) for part in parts])

    @torch.no_grad()
    def decode(self, latent: Tensor, clip: int, ended: tuple[int, ...]) -> Tensor | None:
        """Decode the next chunk of a clip, as `LatentCodec.decode`."""
        history = self._history(clip, ended)
        parts = shares(len(latent), self.group.size())
        mine = self._begin(history, parts)
        piece = self.codec.decode(latent[mine.start : mine.stop], history=history) if mine else None
        return self._whole(
            piece, [frames_until(part.stop, history) - frames_until(part.start, history) for part in parts]
        )

    def _history(self, clip: int, ended: tuple[int, ...]) -> Neighbour:
        for number in ended:
            self.clips.pop(number, None)
        return self.clips.setdefault(clip, Neighbour(self.group))

    def _begin(self, history: Neighbour, parts: list[range]) -> range:
        history.start_round(sum(1 for part in parts if part))
        return parts[self.group.rank()]

    def _whole(self, piece: Tensor | None, counts: list[int]) -> Tensor | None:
        if self.group.rank():
            if piece is not None:
                dist.send(piece.contiguous(), 0)
            return None
        pieces = [piece]
        for rank, count in enumerate(counts):
            if rank and count:
                pieces.append(piece.new_empty(count, *piece.shape[1:]))
                dist.recv(pieces[-1], rank)
        return torch.cat(pieces)


def frames_until(latent: int, history: Neighbour) -> int:
    """Frames of a chunk before one of its latent frames; the first latent frame of a clip stands for one frame."""
    return max(0, TIME * latent - (TIME - 1 if history.first_round else 0))


def shares(latents: int, peers: int, *, joined: bool = False) -> list[range]:
    """Split latent frames in a row over peers as evenly as can be, the first ones first.

    joined: the first two stay together, as in one process: alone, the first one is a still picture to the encoder,
    which rounds otherwise.
    """
    extra = int(joined and latents > 1)
    each, more = divmod(latents - extra, peers)
    cuts = [0, *(extra + i * each + min(i, more) for i in range(1, peers + 1))]
    return [range(a, b) for a, b in itertools.pairwise(cuts)]
