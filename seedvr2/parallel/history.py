"""Temporal parallelism of the frozen VAE: each peer takes some frames of a clip; the past is its neighbour's."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from seedvr2.models.codec import LatentCodec

STRIDE = 4  # frames per latent frame


class Neighbour:
    """A history whose past is what the previous rank's chunk ends with, at every causal layer.

    One `Neighbour` serves one clip. All peers run the same layers, so each layer is one exchange between neighbours;
    without gradients.
    """

    def __init__(self, group: dist.ProcessGroup):
        ranks = dist.get_process_group_ranks(group)
        me = group.rank()
        self.group = group
        self.before_me = ranks[me - 1] if me else None
        self.after_me = ranks[me + 1] if me + 1 < len(ranks) else None

    def is_start(self, layer: nn.Module) -> bool:
        """Whether this rank has the first frames of the clip."""
        return self.before_me is None

    def before(self, layer: nn.Module, x: Tensor, frames: int) -> Tensor | None:
        """Receive the last `frames` input frames of the previous rank, and send this rank's to the next."""
        short = x.shape[2] < frames  # then what goes on includes what came
        sending = None if short else self._send(x[:, :, -frames:])
        past = None
        if self.before_me is not None:
            past = x.new_empty(*x.shape[:2], frames, *x.shape[3:])
            dist.recv(past, self.before_me, group=self.group)
        if short:
            earlier = [x[:, :, :1]] * (frames - x.shape[2]) if past is None else [past]
            sending = self._send(torch.cat([*earlier, x], dim=2)[:, :, -frames:])
        if sending is not None:
            sending[0].wait()
        return past

    def _send(self, tail: Tensor) -> tuple[dist.Work, Tensor] | None:
        if self.after_me is None:
            return None
        tail = tail.contiguous()
        return dist.isend(tail, self.after_me, group=self.group), tail  # the tensor must live until it is sent


class SplitCodec:
    """A codec whose clips are encoded and decoded by all peers together; results are whole on each of them."""

    def __init__(self, codec: LatentCodec, group: dist.ProcessGroup):
        self.codec, self.vae, self.group = codec, codec.vae, group

    def encode(self, frames: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """As `LatentCodec.encode` of a whole clip of 4k + 1 frames."""
        latents = (len(frames) - 1) // STRIDE + 1
        mine = self._mine(latents)
        if mine is None:
            return self.codec.encode(frames, noise=noise)
        begin = 0 if mine.start == 0 else STRIDE * mine.start - STRIDE + 1
        piece = frames[begin : STRIDE * mine.stop - STRIDE + 1]
        part = noise if noise is None else noise[mine.start : mine.stop]
        return self._whole(self.codec.encode(piece, history=Neighbour(self.group), noise=part), latents)

    def decode(self, latent: Tensor) -> Tensor:
        """As `LatentCodec.decode` of a whole clip."""
        mine = self._mine(len(latent))
        if mine is None:
            return self.codec.decode(latent)
        frames = self.codec.decode(latent[mine.start : mine.stop], history=Neighbour(self.group))
        return self._whole(frames, STRIDE * (len(latent) - 1) + 1)

    def _mine(self, latents: int) -> range | None:
        # None: too short to be split, so that every peer does it all
        n, me = self.group.size(), self.group.rank()
        return range(me * latents // n, (me + 1) * latents // n) if latents >= n else None

    def _whole(self, piece: Tensor, length: int) -> Tensor:
        n = self.group.size()
        counts = torch.empty(n, dtype=torch.long, device=piece.device)
        dist.all_gather_into_tensor(counts, torch.tensor([len(piece)], device=piece.device), group=self.group)
        longest = int(counts.max())
        mine = torch.zeros(longest, *piece.shape[1:], dtype=piece.dtype, device=piece.device)
        mine[: len(piece)] = piece
        pieces = piece.new_empty(n * longest, *piece.shape[1:])
        dist.all_gather_into_tensor(pieces, mine, group=self.group)
        whole = torch.cat([part[:count] for part, count in zip(pieces.split(longest), counts.tolist(), strict=True)])
        assert len(whole) == length
        return whole
