"""Training the causal video VAE (§3.1 of SeedVR): L1, KL, perceptual distance, and late a patch discriminator."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedvr2.data.batch import Batch
from seedvr2.errors import UserError
from seedvr2.losses.adversarial import Hinge
from seedvr2.losses.reconstruction import adaptive_weight
from seedvr2.models.vae.overlap import UPDATES
from seedvr2.models.vae.start import start_as_codec
from seedvr2.objectives.objective import Build, Exported, Metrics, Recipe, Weights
from seedvr2.objectives.restored_latents import RestoredLatents
from seedvr2.objectives.workload import Learner, Pass, Workload
from seedvr2.optim.schedule import constant
from seedvr2.optim.trainee import Trainee, frozen

_STARTS = {"codec": start_as_codec, "overlap": partial(start_as_codec, overlap=UPDATES), "random": None}


class Spread:
    """Running standard deviation of the latents, whose inverse becomes the latent scale."""

    def __init__(self, average: Callable[[Tensor], Tensor], decay: float = 0.98):
        self.average, self.decay, self.variance = average, decay, None

    def update(self, latents: Tensor) -> None:
        """Take in the latents of one step, but not of one that has no finite ones: the update skips it too."""
        latents = latents.detach().double()
        mean, square = self.average(torch.stack([latents.mean(), latents.square().mean()]))
        variance = square - mean**2
        if not variance.isfinite():
            return
        self.variance = variance if self.variance is None else self.variance.to(variance).lerp(variance, 1 - self.decay)

    def scale(self) -> float:
        """Factor that brings latents to unit standard deviation."""
        return float(self.variance.rsqrt())

    def state_dict(self) -> dict:
        return {"variance": self.variance}

    def load_state_dict(self, state: dict) -> None:
        self.variance = state["variance"]


class Autoencoding:
    """Reconstruct clips from a sampled posterior; clips of a step have one size.

    start: what a fresh VAE does at first: a linear codec in closed form (`models/vae/start.py`), one whose patches
    overlap (`models/vae/overlap.py`, minutes), or nothing in particular; no effect on weights from a file. learns: the
    whole VAE, or only the decoder of an existing one, so that its latents and their scale stay what they are.
    restored: recipe of `RestoredLatents`, so that a decoder also learns to show what a generator makes, or None.
    degraded: share of the other clips that are degraded ones, to be reconstructed as they are, since an encoder meets
    those at inference. perceptual: frames (N, 3, H, W) x 2 -> scalar, or None. critic: recipe of the patch
    discriminator, or None. adversarial_start: share of the stage after which the adversarial loss joins.
    """

    def __init__(
        self,
        *,
        build: Build,
        weights: Weights,
        iterations: int,
        vae: Recipe,
        optim: Callable,
        schedule: Callable[[int, int], float] = constant,
        max_norm: float | None = 1.0,
        ema: float | None = 0.999,
        start: Literal["codec", "overlap", "random"] = "codec",
        learns: Literal["all", "decoder"] = "all",
        restored: Callable[..., RestoredLatents] | None = None,
        degraded: float = 0.0,
        kl: float = 1e-4,
        perceptual: nn.Module | None = None,
        perceptual_weight: float = 1.0,
        critic: Recipe | None = None,
        critic_optim: Callable | None = None,
        adversarial_weight: float = 0.5,
        adversarial_start: float = 0.8,
    ):
        if not 0 <= degraded <= 1:
            raise UserError(f"degraded is {degraded}: give the share of clips, from 0 to 1")
        if restored and learns != "decoder":
            raise UserError("restored latents are for a decoder that learns alone: set learns: decoder")
        self.recipe = vae
        path = weights.find("vae")
        self.scale = None
        if learns == "decoder":
            path = weights.require("vae", purpose="a decoder is trained for the encoder of an existing VAE")
            self.scale = weights.latent_scale(path)
        self.vae = build("vae", vae, path, start=_STARTS[start])
        if learns == "decoder":
            self.vae.encoder.requires_grad_(False)
        self.degraded = degraded
        self.restored = restored(build=build, weights=weights, scale=self.scale) if restored else None
        self.critic_start = round(adversarial_start * iterations)
        shared = {"schedule": schedule, "max_norm": max_norm}
        self.student = Trainee({"vae": self.vae}, optimizer=optim, total=iterations, ema=ema, **shared)
        self.average = build.average
        self.spread = Spread(self.average)
        self.stateful = {"student": self.student, "spread": self.spread}
        self.averaged = self.student.averaged
        self.critic = build("critic", critic, None) if critic else None
        if self.critic:
            late = iterations - self.critic_start
            self.judge = Trainee({"critic": self.critic}, optimizer=critic_optim or optim, total=late, **shared)
            self.stateful["judge"] = self.judge
        self.gan = Hinge()
        device = next(self.vae.parameters()).device
        self.perceptual = perceptual.to(device) if perceptual else None
        self.kl, self.perceptual_weight, self.adversarial_weight = kl, perceptual_weight, adversarial_weight

    @classmethod
    def workload(cls, *, vae: Recipe, optim: Callable, ema: float | None = 0.999, **_) -> Workload:
        """What a step computes, from the arguments of the constructor; the patch discriminator counts for nothing."""
        return Workload(
            networks={"vae": vae},
            learners=[Learner("vae", optim, averaged=ema is not None)],
            updates={"vae": [Pass("vae", grad="weights")]},
            pixels=True,
            left_out=("patch discriminator", "perceptual distance", "generator of restored latents"),
        )

    @property
    def adversarial(self) -> bool:
        """Whether the discriminator takes part by now."""
        return self.critic is not None and self.student.step >= self.critic_start

    def step(self, batches: Sequence[Batch]) -> Metrics:
        """Update the VAE, then (late) the patch discriminator."""
        if not self.adversarial:
            return self.student.update(batches, self.loss)
        with frozen(self.critic):
            logs = self.student.update(batches, self.loss)
        d = self.judge.update(batches, self.critic_loss)
        return logs | {f"critic/{name}": value for name, value in d.items()}

    def shown(self, batch: Batch) -> Batch:
        """The batch with what is to be reconstructed as its clean clips."""
        if not self.degraded:
            return batch
        if not batch.lq:
            raise UserError("degraded clips are to be reconstructed too: set degraded: true in the stage's feed")
        restored = self.restored.chosen(batch) if self.restored else [False] * len(batch.hq)
        degraded = [draw < self.degraded for draw in batch.uniform("degraded")]
        places = zip(batch.hq, batch.lq, degraded, restored, strict=True)
        return batch._replace(hq=[lq if wanted and not other else hq for hq, lq, wanted, other in places])

    def reconstruct(self, batch: Batch, purpose: str) -> tuple[Tensor, Tensor, object]:
        """Clips (B, 3, T, H, W), their reconstruction from a sampled posterior, and the posterior.

        Clips that `restored` chooses are reconstructed from the restored latent of their degraded ones.
        """
        batch = self.shown(batch)
        sources = self.restored.sources(batch) if self.restored else batch.hq
        posterior = self.vae.encode(torch.stack(sources).transpose(1, 2))
        noise = [draws.normal(purpose, posterior.mean[0]) for draws in batch.draws]
        latents = posterior.sample(torch.stack(noise))
        if self.restored:
            latents = self.restored(latents, batch)
        return torch.stack(batch.hq).transpose(1, 2), self.vae.decode(latents), posterior

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Reconstruction, KL, perceptual and (late) adversarial loss of the VAE."""
        clips, made, posterior = self.reconstruct(batch, "posterior")
        self.spread.update(posterior.mean)
        parts = {"l1": F.l1_loss(made, clips), "kl": posterior.kl().mean()}
        loss = parts["l1"] + self.kl * parts["kl"]
        if self.perceptual:
            frames = [x.transpose(1, 2).flatten(0, 1) for x in (made, clips)]
            parts["perceptual"] = self.perceptual(*frames)
            loss = loss + self.perceptual_weight * parts["perceptual"]
        if self.adversarial:
            scores = self.critic(made)
            parts["gan"] = self.gan.generator(scores, scores)
            balance = adaptive_weight(loss, parts["gan"], self.vae.decoder.conv_out.weight, average=self.average)
            loss = loss + self.adversarial_weight * balance * parts["gan"]
        parts["psnr"] = (-10 * torch.log10((made - clips).square().mean(dim=(1, 2, 3, 4)) / 4)).mean()
        return loss, parts

    def critic_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Hinge loss of the patch discriminator."""
        with torch.no_grad():
            clips, made, _ = self.reconstruct(batch, "critic/posterior")
        loss = self.gan.discriminator(self.critic(made), self.critic(clips))
        return loss, {"loss": loss}

    def preview(self, batch: Batch) -> list[Tensor]:
        """Reconstruction from the posterior mean; with `restored`, of every clip's restored latent."""
        made = []
        for place, clip in enumerate(batch.lq if self.restored else batch.hq):
            latent = self.vae.encode(clip.transpose(0, 1)[None]).mean
            if self.restored:
                latent = self.restored.restored(latent, batch.draws[place : place + 1])
            made.append(self.vae.decode(latent)[0].transpose(0, 1))
        return made

    def export(self) -> dict[str, Exported]:
        """The averaged VAE and its latent scale."""
        return {"vae": Exported(self.vae, self.recipe, {"scale": self.scale or self.spread.scale()})}
