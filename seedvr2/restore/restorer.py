"""The whole restoration path of one stream: pad, encode, generate, decode, crop, colour fix (§3, Fig. 2).

The generator starts from noise and sees the low-quality latent as its condition; with one step the restored latent is
`noise - velocity` at t = 1000. Multi-step generators take Euler steps. Networks may run in half precision; noise,
sampling, blending and colours stay in fp32.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn

from seedvr2.errors import UserError
from seedvr2.flow.condition import restoration_condition, restoration_input
from seedvr2.flow.sampler import euler
from seedvr2.flow.timesteps import trailing
from seedvr2.models.codec import LatentCodec
from seedvr2.restore.color import adain_color_fix, wavelet_color_fix
from seedvr2.restore.resize import pad_to_multiple
from seedvr2.restore.stream import check_window, decoded, encoded, latent_noise, windowed

SIDE_MULTIPLE = 16  # 8 of the autoencoder times 2 of the generator's patches
COLOR_FIXES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None] = {
    "wavelet": wavelet_color_fix,
    "adain": adain_color_fix,
    "none": None,
}


class Restorer:
    """Restores streams of frames with one generator and one codec; results depend on nothing but its arguments."""

    def __init__(
        self,
        generator: nn.Module,
        codec: LatentCodec,
        *,
        prompt: torch.Tensor,
        seed: int = 0,
        window: int = 5,
        overlap: int = 1,
        steps: int = 1,
        color_fix: str = "none",
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        chunk: int = 1,
    ):
        """prompt: (M, text_dim) text embedding. window, overlap: latent frames per generator call, and shared by two.

        steps: generator calls per window. The networks are expected on `device` in `dtype`. chunk: latent frames per
        autoencoder call, which changes memory and speed only. Raises UserError for a window, number of steps or colour
        fix that cannot be.
        """
        check_window(window, overlap=overlap)
        if steps < 1:
            raise UserError(f"a restoration cannot take {steps} steps; give at least 1")
        if color_fix not in COLOR_FIXES:
            raise UserError(f"there is no colour fix {color_fix!r}; use one of {', '.join(COLOR_FIXES)}")
        self.generator = generator
        self.codec = codec
        self.prompt = prompt.to(device, dtype)
        self.seed = seed
        self.window = window
        self.overlap = overlap
        self.chunk = chunk
        self._timesteps = trailing(steps)
        self.device = torch.device(device)
        self.dtype = dtype
        self._color_fix = COLOR_FIXES[color_fix]

    def restore(self, frames: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Yield one restored frame (3,H,W), float32 in [-1,1] on the CPU, per input frame (3,H,W) in [-1,1].

        All frames have one size, that of the output; it need not be a multiple of anything.
        """
        ahead, inputs = itertools.tee(frames)
        restored = self._restored(pad_to_multiple(frame, SIDE_MULTIPLE) for frame in ahead)
        for lq in inputs:
            frame = next(restored, None)
            assert frame is not None, "fewer frames came out than went in"
            frame = frame[:, : lq.shape[-2], : lq.shape[-1]].float().cpu()
            if self._color_fix is not None:
                frame = self._color_fix(frame[None], lq[None])[0]
            yield frame.clamp(-1, 1)
        assert sum(1 for _ in restored) <= 3, "more frames came out than the padding of the last group"

    def _restored(self, frames: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        on_device = (frame.to(self.device, self.dtype) for frame in frames)
        latents = encoded(on_device, self.codec, seed=self.seed, latents=self.chunk)
        clean = windowed(latents, self._generated, window=self.window, overlap=self.overlap)
        return decoded(clean, self.codec, count=self.chunk)

    @torch.no_grad()
    def _generated(self, lq: torch.Tensor, position: int) -> torch.Tensor:
        shape = tuple(lq.shape[:3])
        condition = restoration_condition(lq.float())

        def velocity(noisy: torch.Tensor, timestep: float) -> torch.Tensor:
            rows = restoration_input([noisy], [condition]).to(self.dtype)
            timesteps = torch.tensor([timestep], device=self.device)
            field = self.generator(rows, self.prompt, [shape], [len(self.prompt)], timesteps)
            return field.float().unflatten(0, shape)

        noise = latent_noise(self.seed, "noise", position, tuple(lq.shape)).to(self.device)
        return euler(velocity, noise, self._timesteps)
