"""Base training: multi-step flow matching from noise to the clean latent, given the LQ latent (§3.1; SeedVR)."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from seedvr2.data.batch import Batch
from seedvr2.flow.condition import pack, unpack
from seedvr2.flow.path import noised, velocity
from seedvr2.flow.sampler import euler
from seedvr2.flow.timesteps import logit_normal, shift_by_resolution, trailing
from seedvr2.losses.weighing import relative_weights
from seedvr2.models.start import start_as_copy
from seedvr2.objectives.objective import Build, Exported, Metrics, Recipe, Weights
from seedvr2.objectives.restoration import (
    ConditionNoise,
    PromptOdds,
    channel_weights,
    packed_field,
    plain_condition,
    training_condition,
    velocities,
)
from seedvr2.objectives.workload import Learner, Pass, Workload
from seedvr2.optim.schedule import constant
from seedvr2.optim.trainee import Trainee


class FlowMatching:
    """Regress the velocity `noise - clean` at a logit-normal timestep moved by the resolution shift.

    prompt_odds: odds of the negative and the null prompt (dropout), else the positive one. condition_noise: noise on
    the LQ latent. start: what a fresh generator does at first (see `models/start.py`). preview_steps: Euler steps
    of the preview. weighed_by: recipe of the VAE whose decoder says how much an error of each channel counts (see
    `losses/weighing.py`), None: all the same. relative: the errors of a clip count relative to those of its LQ latent.
    """

    def __init__(
        self,
        *,
        build: Build,
        weights: Weights,
        iterations: int,
        generator: Recipe,
        prompts: Recipe,
        optim: Callable,
        schedule: Callable[[int, int], float] = constant,
        max_norm: float | None = 1.0,
        ema: float | None = 0.9998,
        prompt_odds: PromptOdds | None = None,
        condition_noise: ConditionNoise | None = None,
        start: Literal["random", "copy"] = "random",
        loc: float = 0.0,
        scale: float = 1.0,
        preview_steps: int = 8,
        weighed_by: Recipe | None = None,
        relative: bool = False,
    ):
        self.recipes = {"generator": generator, "prompts": prompts}
        first = start_as_copy if start == "copy" else None
        self.prompts = build("prompts", prompts, weights.find("prompts"))
        if not any(table.requires_grad for table in self.prompts.parameters()):
            weights.require("prompts", purpose="these prompts are fixed and must come from a file")
        self.generator = build("generator", generator, weights.find("generator"), start=first)
        networks = {"generator": self.generator, "prompts": self.prompts}
        self.student = Trainee(
            networks, optimizer=optim, total=iterations, schedule=schedule, max_norm=max_norm, ema=ema
        )
        self.stateful = {"student": self.student}
        self.averaged = self.student.averaged
        self.odds = prompt_odds or PromptOdds(negative=0.05)
        self.condition_noise = condition_noise or ConditionNoise()
        self.loc, self.scale, self.preview_steps = loc, scale, preview_steps
        self.channel_weights = channel_weights(weighed_by, build, weights)
        self.relative = relative

    @classmethod
    def workload(
        cls, *, generator: Recipe, prompts: Recipe, optim: Callable, ema: float | None = 0.9998, **_
    ) -> Workload:
        """What a step computes, from the arguments of the constructor."""
        return Workload(
            networks={"generator": generator, "prompts": prompts},
            learners=[Learner(name, optim, averaged=ema is not None) for name in ("generator", "prompts")],
            updates={"generator": [Pass("generator", grad="weights")]},
            prompts=prompts,
        )

    def step(self, batches: Sequence[Batch]) -> Metrics:
        """One optimizer step."""
        return self.student.update(batches, self.loss)

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Mean squared error of the predicted velocity."""
        condition = training_condition(batch, self.prompts, self.odds, self.condition_noise)
        noise = batch.normal("noise")
        times = [
            shift_by_resolution(logit_normal(draws.normal("t", torch.zeros(())), loc=self.loc, scale=self.scale), size)
            for draws, size in zip(batch.draws, batch.sizes, strict=True)
        ]
        samples = [noised(*clip, t.item()) for *clip, t in zip(batch.hq, noise, times, strict=True)]
        when = torch.stack(times).to(noise[0].device)
        predicted = velocities(self.generator, samples, condition, when)
        target = [velocity(*clip) for clip in zip(batch.hq, noise, strict=True)]
        errors = (self.channel_weights * (pack(predicted) - pack(target))) ** 2
        if self.relative:
            errors = errors * relative_weights(batch.lq, batch.hq, self.channel_weights)
        loss = errors.mean()
        return loss, {"loss": loss}

    def preview(self, batch: Batch) -> list[Tensor]:
        """Restore by a few Euler steps without guidance."""
        field = packed_field(self.generator, plain_condition(batch, self.prompts("positive")))
        return unpack(euler(field, pack(batch.normal("preview")), trailing(self.preview_steps)), batch.sizes)

    def export(self) -> dict[str, Exported]:
        """The generator and its prompts."""
        return {name: Exported(self.student.networks[name], recipe) for name, recipe in self.recipes.items()}
