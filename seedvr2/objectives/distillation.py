"""Progressive distillation (§3.3; Salimans & Ho 2022): one student step learns to equal `stride` teacher steps."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from seedvr2.data.batch import Batch
from seedvr2.flow.condition import pack, unpack
from seedvr2.flow.path import TOTAL, euler_step, noised
from seedvr2.flow.sampler import euler, guided
from seedvr2.flow.timesteps import grid_pairs, trailing
from seedvr2.objectives.objective import Build, Exported, Metrics, Recipe, Weights
from seedvr2.objectives.restoration import (
    Condition,
    ConditionNoise,
    PromptOdds,
    packed_field,
    plain_condition,
    training_condition,
    velocities,
)
from seedvr2.objectives.workload import Learner, Pass, Workload
from seedvr2.optim.schedule import linear
from seedvr2.optim.trainee import Trainee


class Distillation:
    """Halve (or divide by `stride`) the number of Euler steps; the loss is the squared error of the velocity.

    steps: the teacher's. guidance: CFG of the teacher, baked into the student, which only sees its own prompt.
    generator: the student's recipe; teacher: another recipe for a teacher of another size. teacher_weights and
    student_weights: names of the files to start from, `generator` is the newest one.
    grid_shift: shift of both timestep grids (the released sampler uses none).
    """

    def __init__(
        self,
        *,
        build: Build,
        weights: Weights,
        iterations: int,
        steps: int,
        stride: int,
        guidance: float,
        generator: Recipe,
        prompts: Recipe,
        optim: Callable,
        schedule: Callable[[int, int], float] = linear,
        max_norm: float | None = 1.0,
        ema: float | None = None,
        teacher: Recipe | None = None,
        teacher_weights: str = "generator",
        student_weights: str = "generator",
        prompt_odds: PromptOdds | None = None,
        condition_noise: ConditionNoise | None = None,
        grid_shift: float = 1.0,
    ):
        purpose = "distillation needs a multi-step generator"
        files = [weights.require(name, purpose=purpose) for name in (teacher_weights, student_weights, "prompts")]
        self.teacher = build("teacher", teacher or generator, files[0], trainable=False)
        self.generator = build("generator", generator, files[1])
        self.prompts = build("prompts", prompts, files[2], trainable=False)
        self.recipes = {"generator": generator, "prompts": prompts}
        self.student = Trainee(
            {"generator": self.generator},
            optimizer=optim,
            total=iterations,
            schedule=schedule,
            max_norm=max_norm,
            ema=ema,
        )
        self.stateful = {"student": self.student}
        self.averaged = self.student.averaged
        self.spans = grid_pairs(steps, stride, shift=grid_shift)  # falling timesteps of each student step
        self.student_grid = trailing(steps // stride, shift=grid_shift)
        self.guidance = guidance
        self.odds = prompt_odds or PromptOdds()
        self.condition_noise = condition_noise or ConditionNoise()

    @classmethod
    def workload(
        cls,
        *,
        stride: int,
        guidance: float,
        generator: Recipe,
        prompts: Recipe,
        optim: Callable,
        teacher: Recipe | None = None,
        ema: float | None = None,
        **_,
    ) -> Workload:
        """What a step computes, from the arguments of the constructor."""
        calls = stride * (1 if guidance == 1.0 else 2)
        return Workload(
            networks={"generator": generator, "teacher": teacher or generator},
            learners=[Learner("generator", optim, averaged=ema is not None)],
            updates={"generator": [Pass("teacher", times=calls), Pass("generator", grad="weights")]},
            prompts=prompts,
        )

    def step(self, batches: Sequence[Batch]) -> Metrics:
        """One optimizer step of the student."""
        return self.student.update(batches, self.loss)

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Squared error between the student's velocity and the mean velocity of the teacher's steps."""
        condition = training_condition(batch, self.prompts, self.odds, self.condition_noise)
        spans = [self.spans[int(draw * len(self.spans))] for draw in batch.uniform("span")]
        noise = batch.normal("noise")
        start = [noised(*clip, span[0]) for *clip, span in zip(batch.hq, noise, spans, strict=True)]
        target = self.target(start, condition, spans)
        predicted = velocities(self.generator, start, condition, self._column(spans, 0, start))
        loss = torch.mean((pack(predicted) - pack(target)) ** 2)
        return loss, {"loss": loss}

    @torch.no_grad()
    def target(self, start: list[Tensor], condition: Condition, spans: list[list[float]]) -> list[Tensor]:
        """Velocity that takes the student in one step where the teacher arrives after all steps of each clip's span.

        No division by a timestep: with x_u the teacher's end point, v* = (x_u - x_t) / (u - t), also at u = 0.
        """
        x = start
        for i in range(len(spans[0]) - 1):
            field = self.teacher_field(x, condition, self._column(spans, i, start))
            x = [euler_step(clip, v, span[i], span[i + 1]) for clip, v, span in zip(x, field, spans, strict=True)]
        return [
            (end - begin) * (TOTAL / (span[-1] - span[0])) for begin, end, span in zip(start, x, spans, strict=True)
        ]

    def teacher_field(self, x: list[Tensor], condition: Condition, when: Tensor) -> list[Tensor]:
        """The teacher's velocity, guided away from the negative prompt if guidance is not 1."""
        positive = velocities(self.teacher, x, condition, when)
        if self.guidance == 1.0:
            return positive
        against = Condition(condition.latents, [self.prompts("negative")] * len(x))
        negative = velocities(self.teacher, x, against, when)
        return unpack(guided(pack(positive), pack(negative), self.guidance), condition.sizes)

    def _column(self, spans: list[list[float]], i: int, like: list[Tensor]) -> Tensor:
        return torch.tensor([span[i] for span in spans], dtype=torch.float32, device=like[0].device)

    def preview(self, batch: Batch) -> list[Tensor]:
        """Restore with the student's number of steps."""
        field = packed_field(self.generator, plain_condition(batch, self.prompts("positive")))
        return unpack(euler(field, pack(batch.normal("preview")), self.student_grid), batch.sizes)

    def export(self) -> dict[str, Exported]:
        """The student, and the prompts it was trained with."""
        networks = {"generator": self.generator, "prompts": self.prompts}
        return {name: Exported(networks[name], recipe) for name, recipe in self.recipes.items()}
