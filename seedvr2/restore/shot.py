"""The whole restoration path of one shot: pad, encode, generate, decode, crop, colour fix (§3, Fig. 2).

Networks may run in half precision; noise, sampling, blending and colours stay in fp32.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn

from seedvr2.errors import UserError
from seedvr2.models.codec import LatentCodec
from seedvr2.models.memory import limit_tables
from seedvr2.models.vae.autoencoder import TIME
from seedvr2.models.vae.reach import look_back
from seedvr2.restore.color import adain_color_fix, grey_color_fix, wavelet_color_fix
from seedvr2.restore.generation import Generation, Guidance
from seedvr2.restore.memory import give_back
from seedvr2.restore.resize import Size, pad_to_multiple
from seedvr2.restore.stream import check_window, decoded, encoded, windowed
from seedvr2.restore.threads import waiting_frames
from seedvr2.restore.timeline import Timeline
from seedvr2.restore.transfer import LATE, landed, sent

SIDE_MULTIPLE = 16  # 8 of the autoencoder times 2 of the generator's patches
COLOR_FIXES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None] = {
    "wavelet": wavelet_color_fix,
    "adain": adain_color_fix,
    "grey": grey_color_fix,
    "none": None,
}


class ShotRestorer:
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
        guidance: Guidance | None = None,
        condition_noise: float = 0.0,
        color_fix: str = "none",
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        chunk: int = 1,
    ):
        """prompt: (M, text_dim) text embedding. window, overlap: latent frames per generator call, and shared by two.

        steps, guidance, condition_noise: see `Generation`. The networks are expected on `device` in `dtype`. chunk:
        latent frames per autoencoder call, which changes memory and speed only. Raises UserError for a window, number
        of steps or colour fix that cannot be.
        """
        check_window(window, overlap=overlap)
        if color_fix not in COLOR_FIXES:
            raise UserError(f"there is no colour fix {color_fix!r}; use one of {', '.join(COLOR_FIXES)}")
        self.generation = Generation(
            generator,
            prompt=prompt,
            seed=seed,
            steps=steps,
            guidance=guidance,
            condition_noise=condition_noise,
            device=device,
            dtype=dtype,
        )
        self.codec = codec
        self.seed = seed
        self.window = window
        self.overlap = overlap
        self.chunk = chunk
        # latent frames after which it no longer matters where a stream began
        self._encoder_reach = -(-look_back(codec.vae.encoder) // TIME) + 1
        self._decoder_reach = -(-look_back(codec.vae.decoder, TIME) // TIME) + 1
        self.device = torch.device(device)
        self.dtype = dtype
        self._color_fix = COLOR_FIXES[color_fix]
        self._timeline = Timeline(self.device)

    @property
    def seconds(self) -> dict[str, float]:
        """Spent so far, by stage."""
        return self._timeline.seconds

    def waiting(self, size: Size) -> int:
        """Frames of a size that should wait for it, and results of it that should be allowed to wait."""
        return waiting_frames(size, self.window, is_host=self.device.type == "cpu")

    def restart(self, frame: int) -> int:
        """The latest frame of a shot from which `restore` can start and give the same results from `frame` on."""
        step = self.window - self.overlap
        number = (-(-frame // TIME) - self._decoder_reach) // step - 1  # of the first window that matters
        latent = (number * step - self._encoder_reach) // self.chunk * self.chunk
        return TIME * latent if number > 0 and latent > 0 else 0

    def restore(self, frames: Iterable[torch.Tensor], *, first: int = 0) -> Iterator[torch.Tensor | None]:
        """Yield one restored frame (3,H,W), float32 in [-1,1] on the CPU, per input frame (3,H,W) in [-1,1].

        All frames are of one shot and have one size, that of the output; it need not be a multiple of anything.
        `first`: number of the first one, if not 0 then one that `restart` gave. Then the first results are None, and
        those before the frame that `restart` was asked for are not those of the whole shot.
        """
        limit_tables()
        window = self._first_window(first)
        decoding = TIME * (window + self.overlap) if first else 0  # the first frame that comes out
        inputs: deque[torch.Tensor | None] = deque()  # those that wait for their results; None: without one
        restored = self._restored(self._padded(frames, inputs, decoding - first), first // TIME, window)
        for frame in landed(self._finished(restored, inputs), late=LATE if self.device.type == "cuda" else 0):
            if frame is not None and frame.sum().isnan():
                raise UserError(f"the networks gave no numbers in {self.dtype}; use --dtype fp32, or bf16")
            yield frame

    def _finished(
        self, restored: Iterator[torch.Tensor], inputs: deque[torch.Tensor | None]
    ) -> Iterator[torch.Tensor | None]:
        # Cropped, in fp32, in the colours of their inputs, still on the device; None for those without a result.
        for number, frame in enumerate(restored):
            if number % (TIME * self.window) == 0 and self.device.type == "cpu":
                give_back()  # or the blocks that wait between those in use grow with the film
            while inputs and inputs[0] is None:
                yield inputs.popleft()
            if not inputs:
                break  # the padding of the last group
            lq = inputs.popleft()
            frame = frame[:, : lq.shape[-2], : lq.shape[-1]].float()
            if self._color_fix is not None:
                style = sent(lq, self.device)[None]
                frame = grey_color_fix(self._color_fix(frame[None], style), style)[0]
            yield frame.clamp(-1, 1)
        while inputs and inputs[0] is None:
            yield inputs.popleft()
        assert not inputs, "fewer frames came out than went in"
        assert sum(1 for _ in restored) <= 3, "more frames came out than the padding of the last group"

    @staticmethod
    def _padded(
        frames: Iterable[torch.Tensor], inputs: deque[torch.Tensor | None], unanswered: int
    ) -> Iterator[torch.Tensor]:
        # `itertools.tee` would keep dozens of frames that nobody waits for any more.
        for number, frame in enumerate(frames):
            inputs.append(None if number < unanswered else frame)
            yield pad_to_multiple(frame, SIDE_MULTIPLE)

    def _first_window(self, first: int) -> int:
        # Position of the first window all of whose latents are those of the whole shot.
        step = self.window - self.overlap
        return -(-(first // TIME + self._encoder_reach) // step) * step if first else 0

    def _restored(self, frames: Iterable[torch.Tensor], start: int, window: int) -> Iterator[torch.Tensor]:
        timed = self._timeline.timed
        arrived = timed("wait for frames", (sent(frame, self.device).to(self.dtype) for frame in frames))
        latents = timed("encode", encoded(arrived, self.codec, seed=self.seed, latents=self.chunk, start=start))
        latents = itertools.islice(latents, window - start, None)
        clean = windowed(latents, self.generation, window=self.window, overlap=self.overlap, start=window)
        clean = timed("generate", clean)
        # what fades in from a window that did not run is left out
        clean = itertools.islice(clean, self.overlap if window else 0, None)
        return timed("decode", decoded(clean, self.codec, count=self.chunk))
