"""Latents of restored clips, for a decoder that shall show what a generator makes as well as what an encoder does."""

from collections.abc import Sequence

import torch
from torch import Tensor

from seedvr2.data.batch import Batch
from seedvr2.errors import UserError
from seedvr2.objectives.objective import Build, Recipe, Weights
from seedvr2.objectives.restoration import in_one_step, plain_condition
from seedvr2.randomness import Draws


class RestoredLatents:
    """Replaces the latents of a share of clips by what a frozen one-step generator makes of their degraded versions.

    A decoder that has seen encoded clips only shows the generator's errors, which no encoder makes, as a grid of
    tokens; ours, not in the paper. scale: factor from the VAE's latents to the generator's. share: 0 to 1.
    """

    def __init__(
        self, *, build: Build, weights: Weights, scale: float, generator: Recipe, prompts: Recipe, share: float = 0.5
    ):
        if not 0 < share <= 1:
            raise UserError(f"restored.share is {share}: give the share of clips, above 0 and at most 1")
        path = weights.require("generator", purpose="a decoder is trained on what a one-step generator makes")
        self.generator = build("generator", generator, path, trainable=False)
        table = weights.require("prompts", purpose="the generator needs the prompts it was trained with")
        self.text = build("prompts", prompts, table, trainable=False)("positive")
        self.scale, self.share = scale, share

    def chosen(self, batch: Batch) -> list[bool]:
        """Which clips are restored ones, by their draws."""
        return [draw < self.share for draw in batch.uniform("restored")]

    def sources(self, batch: Batch) -> list[Tensor]:
        """What the VAE has to encode: degraded clips where a restored latent is wanted, else clean ones."""
        if not batch.lq:
            raise UserError("restored latents need degraded clips: set degraded: true in the stage's feed")
        return [lq if chosen else hq for chosen, hq, lq in zip(self.chosen(batch), batch.hq, batch.lq, strict=True)]

    def __call__(self, latents: Tensor, batch: Batch) -> Tensor:
        """Latents of `sources` (B, C, t, h, w), as the VAE has them, with those of degraded clips restored.

        The generator runs once on all clips, whichever are chosen: its shards are gathered by all ranks together.
        """
        chosen = torch.tensor(self.chosen(batch), device=latents.device)
        return torch.where(chosen[:, None, None, None, None], self.restored(latents, batch.draws), latents)

    @torch.no_grad()
    def restored(self, latents: Tensor, draws: Sequence[Draws]) -> Tensor:
        """The restored latents (B, C, t, h, w) of degraded ones, with noise from their draws."""
        lqs = list((latents * self.scale).movedim(1, -1))
        noise = [each.normal("restored/noise", lq) for each, lq in zip(draws, lqs, strict=True)]
        condition = plain_condition(Batch([], lqs, list(draws)), self.text)
        return torch.stack(in_one_step(self.generator, condition, noise)).movedim(-1, 1) / self.scale
