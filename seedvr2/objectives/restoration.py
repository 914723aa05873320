"""The restoration problem as network input: what every latent objective feeds to generator, teacher and
discriminator.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seedvr2.data.batch import Batch, Size
from seedvr2.errors import UserError
from seedvr2.flow.condition import pack, restoration_condition, restoration_input, unpack
from seedvr2.flow.path import TOTAL, clean_estimate, noised
from seedvr2.flow.sampler import guided
from seedvr2.flow.timesteps import shift_by_resolution
from seedvr2.losses.weighing import pixel_weights
from seedvr2.objectives.objective import Build, Weights


class Condition(NamedTuple):
    """What is given about each clip of a batch."""

    latents: list[Tensor]  # per clip (t, h, w, 17): LQ latent and mask
    texts: list[Tensor]  # per clip (n, text_dim)

    @property
    def sizes(self) -> list[Size]:
        """Latent size (t, h, w) of each clip."""
        return [tuple(latent.shape[:3]) for latent in self.latents]

    def repeated(self, times: int) -> "Condition":
        """The same clips several times in a row."""
        return Condition(self.latents * times, self.texts * times)


@dataclass(frozen=True)
class PromptOdds:
    """How often a training sample sees the negative or (dropout) the null prompt instead of the positive one."""

    negative: float = 0.0
    dropout: float = 0.1

    def __post_init__(self):
        if self.negative < 0 or self.dropout < 0 or self.negative + self.dropout > 1:
            raise UserError(f"prompt_odds {self.negative} and {self.dropout} must be shares that add up to at most 1")

    def pick(self, draw: float) -> str:
        """The prompt for a uniform draw in [0, 1)."""
        if draw < self.negative:
            return "negative"
        return "null" if draw < self.negative + self.dropout else "positive"


@dataclass(frozen=True)
class ConditionNoise:
    """Noise on the LQ latent: timestep U(0, limit) * 1000, moved by the resolution shift; none for a share of
    samples.

    milder: share of samples whose LQ latent first moves U(0, 1) of the way to the clean one. Degradations of training
    are hard, and a small model takes the texture of good inputs for noise; ours, not in the paper.
    """

    limit: float = 0.25
    clean_share: float = 0.0
    milder: float = 0.0

    def __post_init__(self):
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise UserError(f"condition_noise {name} {value} must be from 0 to 1")

    def towards_clean(self, draw: float) -> float:
        """How far, 0 to 1, a sample's LQ latent moves to the clean one for a uniform draw in [0, 1)."""
        return draw / self.milder if draw < self.milder else 0.0

    def timestep(self, draw: float, size: Size) -> float:
        """Timestep in [0, 1000] for a uniform draw in [0, 1)."""
        if draw < self.clean_share:
            return 0.0
        share = (draw - self.clean_share) / (1 - self.clean_share)
        return min(TOTAL, shift_by_resolution(TOTAL * self.limit * share, size))


def training_condition(
    batch: Batch, prompts: nn.Module, odds: PromptOdds, noise: ConditionNoise, purpose: str = "condition"
) -> Condition:
    """The condition of each clip with random noise and prompt; `purpose` names the draws."""
    ways = map(noise.towards_clean, batch.uniform(f"{purpose}/milder"))
    given = [lq.lerp(hq, way) if way else lq for hq, lq, way in zip(batch.hq, batch.lq, ways, strict=True)]
    latents = [
        restoration_condition(noised(lq, extra, noise.timestep(draw, tuple(lq.shape[:3]))))
        for lq, extra, draw in zip(
            given, batch.normal(f"{purpose}/noise"), batch.uniform(f"{purpose}/level"), strict=True
        )
    ]
    return Condition(latents, [prompts(odds.pick(draw)) for draw in batch.uniform(f"{purpose}/text")])


def channel_weights(vae: Callable | None, build: Build, weights: Weights) -> Tensor:
    """How much errors of the latents' channels count: all the same, or as the decoder of a VAE (its recipe) shows them.

    (C,), see `losses/weighing.py`, or the scalar 1. Raises UserError if there are no weights of the VAE.
    """
    if vae is None:
        return torch.ones(())
    path = weights.require("vae", purpose="errors are weighed by a decoder")
    network = build("vae", vae, path, trainable=False)
    scale, device = weights.latent_scale(path), next(network.parameters()).device
    return pixel_weights(network.decode, network.latent_channels, scale=scale, device=device)


def plain_condition(batch: Batch, text: Tensor) -> Condition:
    """The condition at inference: the LQ latent as it is, one prompt (n, text_dim)."""
    return Condition([restoration_condition(lq) for lq in batch.lq], [text] * len(batch.lq))


def run(network: nn.Module, samples: Sequence[Tensor], condition: Condition, timesteps: Tensor):
    """Call a generator or discriminator on clips (t, h, w, 16) at timesteps (B,)."""
    vid = restoration_input(samples, condition.latents)
    lengths = [len(text) for text in condition.texts]
    return network(vid, torch.cat(condition.texts), condition.sizes, lengths, timesteps)


def velocities(network: nn.Module, samples: Sequence[Tensor], condition: Condition, timesteps: Tensor) -> list[Tensor]:
    """Velocity of each clip (t, h, w, 16), in the precision of the samples."""
    return unpack(run(network, samples, condition, timesteps).to(samples[0].dtype), condition.sizes)


def same_timestep(timestep: float, clips: Sequence[Tensor]) -> Tensor:
    """One timestep for all clips: (B,) fp32 on their device."""
    return torch.full((len(clips),), timestep, dtype=torch.float32, device=clips[0].device)


def in_one_step(network: nn.Module, condition: Condition, noise: list[Tensor]) -> list[Tensor]:
    """The one-step result x = z - v(z, T) of each clip (t, h, w, 16)."""
    field = velocities(network, noise, condition, same_timestep(TOTAL, noise))
    return [clean_estimate(z, v, TOTAL) for z, v in zip(noise, field, strict=True)]


def packed_field(
    network: nn.Module,
    condition: Condition,
    negative: Condition | None = None,
    scale: float = 1.0,
    rescale: float = 0.0,
) -> Callable[[Tensor, float], Tensor]:
    """Velocity field of packed clips (rows, 16) for a sampler, guided if scale is not 1."""

    def field(x: Tensor, timestep: float) -> Tensor:
        clips = unpack(x, condition.sizes)
        when = same_timestep(timestep, clips)
        positive = pack(velocities(network, clips, condition, when))
        if scale == 1.0:
            return positive
        return guided(positive, pack(velocities(network, clips, negative, when)), scale, rescale=rescale)

    return field
