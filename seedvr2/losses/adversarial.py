"""Adversarial losses on paired logits of one clip's (or token's) real and fake latent; one object serves both players.

To add one, write a class with `generator` and `discriminator` and name it as `gan` in a stage config.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


class RpGAN:
    """Relativistic pairing (§3.3, Huang et al. 2024): the discriminator ranks the real above the fake of the same
    input.
    """

    def generator(self, fake: Tensor, real: Tensor) -> Tensor:
        """fake, real: (B,) logits -> scalar."""
        return F.softplus(real - fake).mean()

    def discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        """fake, real: (B,) logits -> scalar."""
        return F.softplus(fake - real).mean()


class NonSaturating:
    """Non-saturating logistic loss, the APT baseline (§3.1): each logit is judged on its own."""

    def generator(self, fake: Tensor, real: Tensor) -> Tensor:
        """fake, real: (B,) logits -> scalar; the real logits have no part in it."""
        return F.softplus(-fake).mean()

    def discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        """fake, real: (B,) logits -> scalar."""
        return F.softplus(-real).mean() + F.softplus(fake).mean()


class Hinge:
    """Hinge loss: the discriminator stops caring about logits beyond a margin of 1."""

    def generator(self, fake: Tensor, real: Tensor) -> Tensor:
        """fake, real: (B,) or any shape of logits -> scalar; the real logits have no part in it."""
        return -fake.mean()

    def discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        """fake, real: (B,) or any shape of logits -> scalar."""
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def perturbed(clips: list[Tensor], noise: list[Tensor], sigma: float) -> list[Tensor]:
    """Each clip plus Gaussian noise of standard deviation sigma."""
    return [clip + sigma * draw for clip, draw in zip(clips, noise, strict=True)]


def perturbation_penalty(logits: Tensor, perturbed_logits: Tensor) -> Tensor:
    """Approximated R1/R2 (Eq. 3): mean squared change of the logit under a small perturbation of the input.

    Divided by sigma squared it estimates the squared gradient norm. Real clips give R1, fake clips R2. logits: (B,).
    """
    return torch.mean((logits - perturbed_logits) ** 2)
