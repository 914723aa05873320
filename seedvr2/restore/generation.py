"""The generator's part of a restoration: noise and the low-quality latents of a window to restored latents.

With one step the restored latent is `noise - velocity` at t = 1000; multi-step generators take Euler steps.
"""

import torch
from torch import nn

from seedvr2.errors import UserError
from seedvr2.flow.condition import restoration_condition, restoration_input
from seedvr2.flow.sampler import euler
from seedvr2.flow.timesteps import trailing
from seedvr2.restore.stream import latent_noise


class Generation:
    """Restores windows of latents, whose noise is keyed by their position; sampling is in fp32.

    prompt: (M, text_dim) text embedding. steps: generator calls per window. The generator is expected on `device` in
    `dtype`. Raises UserError for a number of steps that cannot be.
    """

    def __init__(
        self,
        generator: nn.Module,
        *,
        prompt: torch.Tensor,
        seed: int = 0,
        steps: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        if steps < 1:
            raise UserError(f"a restoration cannot take {steps} steps; give at least 1")
        self.generator, self.seed, self.device, self.dtype = generator, seed, torch.device(device), dtype
        self.prompt = prompt.to(device, dtype)
        self._timesteps = trailing(steps)

    @torch.no_grad()
    def __call__(self, lq: torch.Tensor, position: int) -> torch.Tensor:
        """LQ latents (t,h,w,C), the first of which has this position in its shot -> restored ones, in fp32."""
        shape = tuple(lq.shape[:3])
        condition = restoration_condition(lq.float())

        def velocity(noisy: torch.Tensor, timestep: float) -> torch.Tensor:
            rows = restoration_input([noisy], [condition]).to(self.dtype)
            timesteps = torch.tensor([timestep], device=self.device)
            field = self.generator(rows, self.prompt, [shape], [len(self.prompt)], timesteps)
            return field.float().unflatten(0, shape)

        noise = latent_noise(self.seed, "noise", position, tuple(lq.shape)).to(self.device)
        return euler(velocity, noise, self._timesteps)
