"""Fine-tuning of a one-step generator by LoRA: it stays a one-step generator, and its weights stay frozen."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from seedvr2.data.batch import Batch
from seedvr2.errors import UserError
from seedvr2.flow.condition import pack
from seedvr2.losses.matching import Comparison
from seedvr2.models.lora import Lora, adapted, fingerprint, is_adapter, merge_lora, share_frozen
from seedvr2.models.released import load_released, read_state_dict, to_released
from seedvr2.objectives.adversarial import Term
from seedvr2.objectives.objective import Build, Exported, Metrics, Recipe, Weights
from seedvr2.objectives.restoration import (
    Condition,
    ConditionNoise,
    PromptOdds,
    in_one_step,
    plain_condition,
    training_condition,
)
from seedvr2.objectives.workload import Learner, Pass, Workload
from seedvr2.optim.partial import learning_part
from seedvr2.optim.schedule import constant
from seedvr2.optim.trainee import Trainee

PURPOSE = "fine-tuning needs a one-step generator to start from"


class OneStepRegression:
    """Bring the one-step result x = z - v(z, T) close to the clean latent; no discriminator.

    terms: losses by name that look at latents only, None to leave one out.
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
        terms: Mapping[str, Term | None],
        schedule: Callable[[int, int], float] = constant,
        max_norm: float | None = 1.0,
        generator_weights: str = "generator",
        ema: float | None = 0.99,
        prompt_odds: PromptOdds | None = None,
        condition_noise: ConditionNoise | None = None,
    ):
        self.generator = build("generator", generator, weights.require(generator_weights, purpose=PURPOSE))
        self.prompts = build("prompts", prompts, weights.require("prompts", purpose=PURPOSE), trainable=False)
        self.recipes = {"generator": generator, "prompts": prompts}
        self.terms = {name: term for name, term in terms.items() if term is not None}
        if not self.terms:
            raise UserError("one-step regression has no terms: give at least l1, or use the adversarial method")
        self.student = Trainee(
            {"generator": learning_part(self.generator)},
            optimizer=optim,
            total=iterations,
            schedule=schedule,
            max_norm=max_norm,
            ema=ema,
        )
        self.stateful = {"student": self.student}
        self.averaged = self.student.averaged
        self.odds = prompt_odds or PromptOdds()
        self.condition_noise = condition_noise or ConditionNoise(clean_share=0.4)

    @classmethod
    def workload(
        cls, *, generator: Recipe, prompts: Recipe, optim: Callable, ema: float | None = 0.99, **_
    ) -> Workload:
        """What a step computes, from the arguments of the constructor."""
        return Workload(
            networks={"generator": generator},
            learners=[Learner("generator", optim, averaged=ema is not None)],
            updates={"generator": [Pass("generator", grad="weights")]},
            prompts=prompts,
        )

    def step(self, batches: Sequence[Batch]) -> Metrics:
        """One optimizer step."""
        return self.student.update(batches, self.loss)

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """The weighted terms of the one-step results."""
        condition = training_condition(batch, self.prompts, self.odds, self.condition_noise)
        fake = pack(self.generate(condition, batch.normal("noise")))
        nothing = torch.zeros(len(batch.hq), device=fake.device)
        pair = Comparison(fake, pack(batch.hq), nothing, nothing, [], [])
        parts = {name: term.loss(pair) for name, term in self.terms.items()}
        return sum(self.terms[name].weight * part for name, part in parts.items()), parts

    def generate(self, condition: Condition, noise: list[Tensor]) -> list[Tensor]:
        """The one-step result of each clip (t, h, w, 16)."""
        return in_one_step(self.generator, condition, noise)

    def preview(self, batch: Batch) -> list[Tensor]:
        """Restore in one step."""
        return self.generate(plain_condition(batch, self.prompts("positive")), batch.normal("preview"))

    def export(self) -> dict[str, Exported]:
        """The generator and its prompts."""
        networks = {"generator": self.generator, "prompts": self.prompts}
        return {name: Exported(networks[name], recipe) for name, recipe in self.recipes.items()}


class Finetuning:
    """Train adapters of a frozen one-step generator, and export them alone or merged too.

    generator: recipe of the plain generator. lora: what of it is adapted. method: how the adapters learn, without its
    generator: `OneStepRegression`, or `AdversarialPostTraining` with a discriminator that is adapted itself (see
    `configs/stage/finetune_gan.yaml`); the two players then share frozen weights that are equal. strength: what
    `infer` multiplies the adapters by unless told otherwise, and the merged generator always. merge: also export a
    plain generator (one process only). generator_weights: name of the weights to start from. Raises UserError if there
    are none, or for `merge` in several processes.
    """

    def __init__(
        self,
        *,
        build: Build,
        weights: Weights,
        iterations: int,
        generator: Recipe,
        lora: Lora,
        method: Callable,
        strength: float = 1.0,
        merge: bool = False,
        generator_weights: str = "generator",
    ):
        self.recipe, self.lora, self.strength, self.merge = generator, lora, strength, merge
        self.base: Path | None = weights.find(generator_weights)
        if self.base is None:
            raise UserError(
                f"{PURPOSE}, but there are no weights {generator_weights!r}: set run.weights to the last stage "
                "of a run, or to the released seedvr2_ema_3b.pth with ema_vae.pth and pos_emb.pt beside it"
            )

        def recipe() -> nn.Module:
            return adapted(recipe=generator, lora=lora)

        self.method = method(
            build=build,
            weights=weights,
            iterations=iterations,
            generator=recipe,
            generator_weights=generator_weights,
        )
        self.generator = self.method.generator
        learning = learning_part(self.generator).parameters()
        if merge and any(type(parameter) is not nn.Parameter for parameter in learning):
            raise UserError("merge=true works in one process only: use merge=false, and infer with --lora")
        if discriminator := getattr(self.method, "discriminator", None):
            share_frozen(discriminator.trunk, self.generator.trunk)
        self.stateful, self.averaged = self.method.stateful, self.method.averaged
        self.step, self.preview = self.method.step, self.method.preview
        for name in ("diagnose", "validate"):
            if hasattr(self.method, name):
                setattr(self, name, getattr(self.method, name))

    @classmethod
    def workload(cls, *, generator: Recipe, lora: Lora, method: functools.partial, **_) -> Workload:
        """What a step computes, from the arguments of the constructor."""
        recipe = functools.partial(adapted, recipe=generator, lora=lora)
        work = method.func.workload(**method.keywords, generator=recipe)
        return dataclasses.replace(work, borrowed=[name for name in work.networks if name == "discriminator"])

    def facts(self) -> dict:
        """What the adapters' file says about them."""
        return {
            "rank": self.lora.rank,
            "alpha": float(self.lora.alpha),
            "targets": list(self.lora.targets),
            "base": fingerprint(read_state_dict(self.base), rounded=True),
            "strength": float(self.strength),
        }

    def export(self) -> dict[str, Exported]:
        """The averaged adapters; with `merge` also the plain generator, in fp32, and its prompts."""
        facts = self.facts()
        exported = {"lora": Exported(learning_part(self.generator), self.recipe, {"lora": facts})}
        if self.merge:
            exported["generator"] = Exported(self.merged(facts), self.recipe)
            exported["prompts"] = Exported(self.method.prompts, self.method.recipes["prompts"])
        return exported

    def merged(self, facts: Mapping) -> nn.Module:
        """A plain generator on the CPU: the base file's own weights, which may be finer than those trained on, plus
        the adapters.
        """
        with torch.device("meta"):
            network = self.recipe()
        load_released(network, {key: value.float() for key, value in read_state_dict(self.base).items()})
        adapters = {key: value.cpu() for key, value in to_released(self.generator).items() if is_adapter(key)}
        merge_lora(
            network,
            adapters,
            rank=facts["rank"],
            alpha=facts["alpha"],
            base=facts["base"],
            strength=facts["strength"],
        )
        return network
