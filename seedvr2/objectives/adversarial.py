"""Adversarial post-training (§3.1, §3.3): a one-step generator against a discriminator made of the diffusion
network.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seedvr2.data.batch import Batch
from seedvr2.flow.condition import pack
from seedvr2.flow.path import TOTAL
from seedvr2.flow.timesteps import shifted
from seedvr2.losses.adversarial import perturbation_penalty, perturbed
from seedvr2.losses.matching import Comparison
from seedvr2.objectives.objective import Build, Exported, Metrics, Recipe, Weights
from seedvr2.objectives.restoration import (
    Condition,
    ConditionNoise,
    PromptOdds,
    channel_weights,
    in_one_step,
    plain_condition,
    run,
    training_condition,
)
from seedvr2.objectives.workload import Learner, Pass, Workload
from seedvr2.optim.partial import learning_part
from seedvr2.optim.schedule import constant
from seedvr2.optim.trainee import Trainee, frozen


class Term(NamedTuple):
    """A weighted generator loss."""

    loss: Callable[[Comparison], Tensor]
    weight: float = 1.0


class AdversarialPostTraining:
    """Alternate one discriminator and one generator update on the same clips.

    gan: loss of both players. terms: further generator losses by name, None to leave one out. r1, r2: weights of the
    approximated penalties on real and fake clips, with perturbations of standard deviation sigma; normalize_by_sigma
    divides the penalty by sigma squared. discriminator_weights: name of the multi-step generator that the
    discriminator's trunk starts from (the un-distilled base). timestep_shift: shift of the discriminator's uniformly
    drawn timestep. weighed_by: recipe of the VAE whose decoder says how much each channel counts where terms compare
    latents (see `losses/weighing.py`), None: all the same.
    """

    def __init__(
        self,
        *,
        build: Build,
        weights: Weights,
        iterations: int,
        generator: Recipe,
        discriminator: Recipe,
        prompts: Recipe,
        gan,
        optim: Callable,
        discriminator_optim: Callable | None = None,
        schedule: Callable[[int, int], float] = constant,
        terms: Mapping[str, Term | None] | None = None,
        r1: float = 1000.0,
        r2: float = 1000.0,
        sigma: float = 0.1,
        normalize_by_sigma: bool = False,
        timestep_shift: float = 1.0,
        discriminator_weights: str = "base/generator",
        generator_weights: str = "generator",
        ema: float | None = 0.995,
        prompt_odds: PromptOdds | None = None,
        condition_noise: ConditionNoise | None = None,
        weighed_by: Recipe | None = None,
    ):
        purpose = "adversarial post-training needs a generator to start from"
        start, words = (weights.require(name, purpose=purpose) for name in (generator_weights, "prompts"))
        purpose = "the discriminator starts from a base"
        trunk = weights.require(discriminator_weights, "initial/discriminator", "initial/generator", purpose=purpose)
        self.generator = build("generator", generator, start)
        self.prompts = build("prompts", prompts, words, trainable=False)
        self.discriminator = build("discriminator", discriminator, trunk)
        self.recipes = {"generator": generator, "discriminator": discriminator, "prompts": prompts}
        shared = {"total": iterations, "schedule": schedule, "max_norm": None}
        self.student = Trainee({"generator": learning_part(self.generator)}, optimizer=optim, ema=ema, **shared)
        critic = {"discriminator": learning_part(self.discriminator)}
        self.critic = Trainee(critic, optimizer=discriminator_optim or optim, **shared)
        self.stateful = {"student": self.student, "critic": self.critic}
        self.averaged = self.student.averaged
        self.gan, self.terms = gan, {name: term for name, term in (terms or {}).items() if term is not None}
        self.channel_weights = channel_weights(weighed_by, build, weights)
        self.r1, self.r2, self.sigma = r1, r2, sigma
        self.penalty_scale = 1 / sigma**2 if normalize_by_sigma else 1.0
        self.timestep_shift = timestep_shift
        self.odds = prompt_odds or PromptOdds()
        self.condition_noise = condition_noise or ConditionNoise(clean_share=0.4)

    @classmethod
    def workload(
        cls,
        *,
        generator: Recipe,
        discriminator: Recipe,
        prompts: Recipe,
        optim: Callable,
        discriminator_optim: Callable | None = None,
        ema: float | None = 0.995,
        **_,
    ) -> Workload:
        """What a step computes, from the arguments of the constructor."""
        critic = [Pass("generator"), Pass("discriminator", grad="weights", samples=4)]  # real, fake, both perturbed
        student = [
            Pass("generator", grad="weights"),
            Pass("discriminator", grad="inputs"),
            Pass("discriminator"),
        ]
        return Workload(
            networks={"generator": generator, "discriminator": discriminator},
            learners=[
                Learner("generator", optim, averaged=ema is not None),
                Learner("discriminator", discriminator_optim or optim),
            ],
            updates={"discriminator": critic, "generator": student},
            prompts=prompts,
        )

    def step(self, batches: Sequence[Batch]) -> Metrics:
        """Update the discriminator, then the generator against it."""
        d = self.critic.update(batches, self.discriminator_loss)
        with frozen(self.discriminator):
            g = self.student.update(batches, self.generator_loss)
        return {f"d/{name}": value for name, value in d.items()} | {f"g/{name}": value for name, value in g.items()}

    def generate(self, condition: Condition, noise: list[Tensor]) -> list[Tensor]:
        """The one-step result x = z - v(z, T) of each clip (t, h, w, 16)."""
        return in_one_step(self.generator, condition, noise)

    def judge(self, clips: list[Tensor], condition: Condition, timesteps: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits in fp32, (B,) or (L,) per token, and tapped features of clean clips; the timestep is only an input, no
        noise is added.
        """
        logits, features = run(self.discriminator, clips, condition, timesteps)
        return logits.float(), features

    def discriminator_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """GAN loss and both penalties; all four passes share condition, text and timestep."""
        condition, noise, timesteps = self._draw(batch, "d")
        with torch.no_grad():
            fake = self.generate(condition, noise)
        near_real = perturbed(batch.hq, batch.normal("d/r1"), self.sigma)
        near_fake = perturbed(fake, batch.normal("d/r2"), self.sigma)
        logits, _ = self.judge([*batch.hq, *fake, *near_real, *near_fake], condition.repeated(4), timesteps.repeat(4))
        real, false, real_near, false_near = logits.chunk(4)
        gan = self.gan.discriminator(false, real)
        r1, r2 = perturbation_penalty(real, real_near), perturbation_penalty(false, false_near)
        loss = gan + self.penalty_scale * (self.r1 * r1 + self.r2 * r2)
        slopes = {"r1_slope": r1 / self.sigma**2, "r2_slope": r2 / self.sigma**2}
        return loss, {"gan": gan, "r1": r1, "r2": r2, **slopes, "margin": (real - false).mean()}

    def generator_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """GAN loss and the weighted terms; the discriminator must be frozen."""
        condition, noise, timesteps = self._draw(batch, "g")
        fake = self.generate(condition, noise)
        fake_logits, fake_features = self.judge(fake, condition, timesteps)
        with torch.no_grad():
            real_logits, real_features = self.judge(batch.hq, condition, timesteps)
        pair = self._compared(fake, batch.hq, fake_logits, real_logits, fake_features, real_features)
        gan = self.gan.generator(fake_logits, real_logits)
        parts = {name: term.loss(pair) for name, term in self.terms.items()}
        loss = gan + sum(self.terms[name].weight * part for name, part in parts.items())
        return loss, {"gan": gan, **parts}

    def _compared(self, fake: list[Tensor], real: list[Tensor], *judged) -> Comparison:
        return Comparison(*(self.channel_weights * pack(clips) for clips in (fake, real)), *judged)

    def diagnose(self, batches: Sequence[Batch]) -> Metrics:
        """How hard each weighted generator loss pulls at the generated latents x; trains nothing.

        `fake_grad_norm/<loss>`: norm over one clip's latents of the gradient of that clip's loss, mean over clips (of
        one size). `fake_grad_norm/gan_share`: that of `gan` over the sum of all. With the draws of the generator's
        update and the present weights.
        """
        found = [self._pulls(batch) for batch in batches]
        return {f"fake_grad_norm/{name}": sum(pulls[name] for pulls in found) / len(found) for name in found[0]}

    def _pulls(self, batch: Batch) -> Metrics:
        condition, noise, timesteps = self._draw(batch, "g")
        with torch.no_grad():
            fake = self.generate(condition, noise)
            real_logits, real_features = self.judge(batch.hq, condition, timesteps)
        norms = {}
        with frozen(self.discriminator):
            for name in (*self.terms, "gan"):
                # One forward pass each: what selective recomputation keeps serves one backward pass only.
                clips = [clip.detach().requires_grad_() for clip in fake]
                logits, features = self.judge(clips, condition, timesteps)
                if name == "gan":
                    loss = self.gan.generator(logits, real_logits)
                else:
                    pair = self._compared(clips, batch.hq, logits, real_logits, features, real_features)
                    loss = self.terms[name].weight * self.terms[name].loss(pair)
                gradients = torch.autograd.grad(loss, clips)
                # Losses are means over clips; `len` makes it the clip's own loss, whatever it was batched with.
                norms[name] = len(clips) * torch.stack([gradient.float().norm() for gradient in gradients])
        share = norms["gan"] / sum(norms.values()).clamp_min(1e-30)
        return {name: norm.mean() for name, norm in norms.items()} | {"gan_share": share.mean()}

    def validate(self, batch: Batch, made: list[Tensor]) -> Metrics:
        """margin: mean logit gap of clean and made latents, to compare with that of the clips trained on."""
        condition, timesteps = plain_condition(batch, self.prompts("positive")), self._timesteps(batch, "validation/t")
        logits, _ = self.judge([*batch.hq, *made], condition.repeated(2), timesteps.repeat(2))
        real, false = logits.chunk(2)
        return {"margin": (real - false).mean()}

    def _draw(self, batch: Batch, player: str) -> tuple[Condition, list[Tensor], Tensor]:
        """Fresh condition noise, text, z and discriminator timestep for one player's update."""
        condition = training_condition(batch, self.prompts, self.odds, self.condition_noise, f"{player}/condition")
        return condition, batch.normal(f"{player}/noise"), self._timesteps(batch, f"{player}/t")

    def _timesteps(self, batch: Batch, purpose: str) -> Tensor:
        times = [TOTAL * shifted(draw, self.timestep_shift) for draw in batch.uniform(purpose)]
        return torch.tensor(times, dtype=torch.float32, device=batch.hq[0].device)

    def preview(self, batch: Batch) -> list[Tensor]:
        """Restore in one step."""
        return self.generate(plain_condition(batch, self.prompts("positive")), batch.normal("preview"))

    def export(self) -> dict[str, Exported]:
        """The averaged generator, the discriminator, and the prompts."""
        networks = {"generator": self.generator, "discriminator": self.discriminator, "prompts": self.prompts}
        return {name: Exported(networks[name], recipe) for name, recipe in self.recipes.items()}
