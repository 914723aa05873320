"""The generator's part of a restoration: noise and the low-quality latents of a window to restored latents.

With one step the restored latent is `noise - velocity` at t = 1000; multi-step generators take Euler steps, which a
negative prompt can guide.
"""

from typing import NamedTuple

import torch
from torch import nn

from seedvr2.errors import UserError
from seedvr2.flow.condition import restoration_condition, restoration_input
from seedvr2.flow.path import noised
from seedvr2.flow.sampler import euler, guided
from seedvr2.flow.timesteps import condition_timestep, trailing
from seedvr2.restore.stream import latent_noise
from seedvr2.restore.transfer import sent


class Guidance(NamedTuple):
    """Classifier-free guidance: away from a negative prompt (M', text_dim), at twice the work.

    scale: 1 is none. rescale: share from 0 to 1 by which the spread of the guided velocity returns to the unguided one.
    """

    negative: torch.Tensor
    scale: float
    rescale: float = 0.0


class Generation:
    """Restores windows of latents, whose noise is keyed by their position; sampling is in fp32.

    prompt: (M, text_dim) text embedding. steps: generator calls per window, twice as many with guidance.
    condition_noise: share of noise on the LQ latents before its shift, see `condition_timestep`. The generator is
    expected on `device` in `dtype`. Raises UserError for a number of steps that cannot be.
    """

    def __init__(
        self,
        generator: nn.Module,
        *,
        prompt: torch.Tensor,
        seed: int = 0,
        steps: int = 1,
        guidance: Guidance | None = None,
        condition_noise: float = 0.0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        if steps < 1:
            raise UserError(f"a restoration cannot take {steps} steps; give at least 1")
        self.generator, self.seed, self.device, self.dtype = generator, seed, torch.device(device), dtype
        self.prompt = prompt.to(device, dtype)
        self.guidance = guidance and guidance._replace(negative=guidance.negative.to(device, dtype))
        self.condition_noise = condition_noise
        self._timesteps = trailing(steps)

    @torch.no_grad()
    def __call__(self, lq: torch.Tensor, position: int) -> torch.Tensor:
        """LQ latents (t,h,w,C), the first of which has this position in its shot -> restored ones, in fp32."""
        shape = tuple(lq.shape[:3])
        condition = restoration_condition(self._noisy(lq.float(), position))

        def velocity(rows: torch.Tensor, prompt: torch.Tensor, timestep: float) -> torch.Tensor:
            timesteps = torch.full((1,), timestep, dtype=torch.float32, device=self.device)
            return self.generator(rows, prompt, [shape], [len(prompt)], timesteps).float().unflatten(0, shape)

        def field(noisy: torch.Tensor, timestep: float) -> torch.Tensor:
            rows = restoration_input([noisy], [condition]).to(self.dtype)
            positive = velocity(rows, self.prompt, timestep)
            if self.guidance is None:
                return positive
            negative = velocity(rows, self.guidance.negative, timestep)
            return guided(positive, negative, self.guidance.scale, rescale=self.guidance.rescale)

        noise = sent(latent_noise(self.seed, "noise", position, tuple(lq.shape)), self.device)
        return euler(field, noise, self._timesteps)

    def _noisy(self, lq: torch.Tensor, position: int) -> torch.Tensor:
        if self.condition_noise == 0:
            return lq
        noise = sent(latent_noise(self.seed, "condition", position, tuple(lq.shape)), self.device)
        return noised(lq, noise, condition_timestep(self.condition_noise, tuple(lq.shape)))
