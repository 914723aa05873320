"""The whole inference path: the layers of a `VideoVAE`, executed strip by strip and a few frames at a time."""

from collections.abc import MutableMapping
from functools import partial
from itertools import zip_longest
from weakref import WeakSet

import torch
from torch import Tensor, nn

from seedvr2.models.vae.autoencoder import Posterior, VideoVAE, check_frames, check_latents, posterior_of
from seedvr2.models.vae.blocks import clip_of, frames_of
from seedvr2.models.vae.causal import Carry, Fresh, History
from seedvr2.models.vae.inference.layers import Layer, causal_conv, down_block, mid_block, output, up_block
from seedvr2.models.vae.inference.parking import change_places, park
from seedvr2.models.vae.inference.strips import Run
from seedvr2.models.vae.inference.tiling import FASTEST, Tiling
from seedvr2.models.vae.inference.upsampling import FoldedUpsample

Stage = tuple[int, list[Layer]]  # frames at the end for each that goes in, and the layers


class InferenceVAE(nn.Module):
    """A `VideoVAE` that only runs: without gradients, one clip at a time, with less arithmetic and bounded memory.

    It shares the weights and their names with the VAE, and folds those of the up-samplers once; changing weights
    afterwards is not seen. Results are those of the VAE but for rounding, for all histories; one history serves one of
    the two.

    Args:
        vae: the VAE.
        tiling: memory to use; may be replaced between two calls.
        ways: where the fastest way of each kind of convolution is looked up, and noted after a short test on the device
            if it is not there; rounding differs between ways. None: the usual way of the device.
    """

    def __init__(
        self, vae: VideoVAE, tiling: Tiling = FASTEST, *, ways: MutableMapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.latent_channels = vae.encoder, vae.decoder, vae.latent_channels
        self.squeeze_images = vae.squeeze_images
        self.tiling = tiling
        self.ways = ways
        self._histories: WeakSet[Carry] = WeakSet()  # those that are in use
        with torch.no_grad():
            upsamplers = [layer for block in vae.decoder.up_blocks for layer in block.upsamplers]
            self.folded = nn.ModuleList(map(FoldedUpsample, upsamplers))

    @torch.no_grad()
    def encode(self, x: Tensor, history: History | None = None) -> Posterior:
        """As `VideoVAE.encode`, of one clip."""
        encoder, run = self.encoder, self._run(history, x.device)
        is_start = run.history.is_start(encoder.conv_in)
        check_frames(x, starts_clip=is_start)
        first, *others = encoder.down_blocks
        at_full_size = [partial(causal_conv, encoder.conv_in), *down_block(first)]
        later = [layer for block in others for layer in down_block(block)] + mid_block(encoder.mid_block)
        later.append(partial(output, encoder.conv_norm_out, encoder.conv_out))
        made = _through(later, self._in_flight([(1, at_full_size)], [_frames(x)], run, is_start=is_start), run)
        return posterior_of(clip_of(made, 1))

    @torch.no_grad()
    def decode(self, z: Tensor, history: History | None = None) -> Tensor:
        """As `VideoVAE.decode`, of one clip."""
        check_latents(z, self.latent_channels)
        decoder, run = self.decoder, self._run(history, z.device)
        is_start = run.history.is_start(decoder.conv_in)
        blocks = [up_block(*both) for both in zip_longest(decoder.up_blocks, self.folded)]
        *resnets, upsample = blocks[1]
        before = [partial(causal_conv, decoder.conv_in), *mid_block(decoder.mid_block), *blocks[0], *resnets]
        at_full_rate = [*blocks[2], *blocks[3], partial(output, decoder.conv_norm_out, decoder.conv_out)]
        stages = [(2, [upsample]), (1, at_full_rate)]
        frames = clip_of(self._in_flight(stages, [_through(before, _frames(z), run)], run, is_start=is_start), 1)
        return frames.squeeze(2) if history is None and self.squeeze_images and z.shape[2] == 1 else frames

    def leave(self) -> None:
        """Bring all histories to the host, if that is where they may wait: what else runs on the device needs room."""
        if self.tiling.needs_host:
            park(self._histories)

    def held(self) -> int:
        """Bytes of all histories."""
        return sum(history.tail(layer).nbytes for history in self._histories for layer in history.layers())

    def _run(self, history: History | None, device: torch.device) -> Run:
        is_whole = history is None or isinstance(history, Fresh)
        if is_whole:
            history = Fresh() if self.tiling.frames is None else Carry()
        elif isinstance(history, Carry):
            self._histories.add(history)
            if self.tiling.parks:
                change_places(self._histories - {history}, history, device)
        return Run(history, self.tiling, self.ways)

    def _in_flight(self, stages: list[Stage], given: list[Tensor], run: Run, *, is_start: bool) -> Tensor:
        """Frames (T, C, H, W) through stages, as many at once as the tiling says.

        They are the only item of `given`, and freed when they are used.
        """
        (frames, layers), *later = stages
        if self.tiling.frames is not None and isinstance(run.history, Carry):
            x, size = given.pop(), max(1, self.tiling.frames // frames)
            first = size + is_start  # so that frames meet in the same groups, however long the chunks are
            given += [x[:first], *(x[first:].split(size) if len(x) > first else ())]
            del x
        made = []
        while given:
            parts = [_through(layers, given.pop(0), run)]
            more = self._in_flight(later, parts, run, is_start=is_start and not made) if later else parts.pop()
            made.append(more)
        return made[0] if len(made) == 1 else torch.cat(made)


def _frames(clip: Tensor) -> Tensor:
    """Frames (T, C, H, W) in the channels-last format of one clip (1, C, T, H, W)."""
    assert len(clip) == 1, f"one clip at a time, not {len(clip)}"
    return frames_of(clip.contiguous(memory_format=torch.channels_last_3d))


def _through(layers: list[Layer], x: Tensor, run: Run) -> Tensor:
    for layer in layers:
        x = layer(x, run)
    return x
