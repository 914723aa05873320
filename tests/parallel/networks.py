"""Small networks and inputs that every rank can make by itself, and their results with all gradients."""

import functools

import torch
from torch import Tensor, nn

from seedvr2.models.discriminator import Discriminator
from seedvr2.models.dit import SwinMMDiT, Trunk
from seedvr2.models.layers import GeluMLP, SwiGLU
from seedvr2.models.rope import JointRope, VideoRope
from seedvr2.models.windows import adaptive_window
from seedvr2.optim.trainee import frozen

SIZES = [[(3, 6, 10), (1, 4, 6)], [(2, 6, 8), (1, 8, 8)]]  # of the clips of two data ranks: 57 and 40 tokens
TEXTS = [[5, 3], [4, 1]]


def trunk(family: str) -> Trunk:
    joint = family == "3b"
    return Trunk(
        width=32,
        heads=4,
        head_dim=8,
        layers=3,
        text_dim=8,
        separate_layers=1 if joint else 3,
        rope=JointRope(8) if joint else VideoRope(6),
        mlp=functools.partial(SwiGLU, expand=1) if joint else functools.partial(GeluMLP, expand=2),
        window=functools.partial(adaptive_window, area=16),
        text_modulated_last=not joint,
    )


def filled(network: nn.Module, seed: int, dtype: torch.dtype) -> nn.Module:
    """Random weights of moderate size everywhere, so that nothing hides behind a zero."""
    generator = torch.Generator().manual_seed(seed)
    network = network.to(dtype)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            draw = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            centre = 1.0 if name.endswith("scale") or "norm" in name else 0.0
            parameter.copy_(centre + draw * (0.5 if parameter.ndim > 1 else 0.2) / max(1, parameter.shape[-1]) ** 0.25)
    return network


def players(family: str, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """A generator and a discriminator."""
    generator = SwinMMDiT(trunk=lambda: trunk(family), output_norm=family == "3b")
    discriminator = Discriminator(trunk=lambda: trunk(family), taps=[1, 3])
    return filled(generator, 1, dtype), filled(discriminator, 2, dtype)


def inputs(part: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, list, list, Tensor]:
    """Arguments of a network for the clips of data rank `part`."""
    generator = torch.Generator().manual_seed(10 + part)
    rows = sum(t * h * w for t, h, w in SIZES[part])
    vid = torch.randn(rows, 33, generator=generator, dtype=torch.float64).to(dtype)
    txt = torch.randn(sum(TEXTS[part]), 8, generator=generator, dtype=torch.float64).to(dtype)
    return vid, txt, SIZES[part], TEXTS[part], torch.rand(len(SIZES[part]), generator=generator) * 1000


def played(generator, discriminator, parts: list[int], dtype: torch.dtype) -> dict[str, Tensor]:
    """Outputs, and all gradients of a discriminator loss and of a generator loss through the frozen discriminator."""
    found: dict[str, Tensor] = {}
    for part in parts:
        vid, txt, *rest = inputs(part, dtype)
        txt.requires_grad_()
        with torch.no_grad():
            fake = generator(vid, txt, *rest)
        logits, features = discriminator(torch.cat([fake, vid[:, 16:]], 1), txt, *rest)
        (torch.sin(logits).sum() / len(parts)).backward()
        found |= {f"logits{part}": logits, f"features{part}": torch.cat(features), f"d/text{part}": txt.grad}
    found |= gradients("d", discriminator)
    discriminator.zero_grad()
    for part in parts:
        vid, txt, *rest = inputs(part, dtype)
        txt.requires_grad_()
        with frozen(discriminator):
            fake = generator(vid, txt, *rest)
            logits, features = discriminator(torch.cat([fake, vid[:, 16:]], 1), txt, *rest)
            loss = torch.sin(logits).sum() + torch.cat(features).square().mean() + fake.abs().mean()
            (loss / len(parts)).backward()
        found |= {f"fake{part}": fake, f"g/text{part}": txt.grad}
    assert all(parameter.grad is None for parameter in discriminator.parameters())
    return {name: value.detach() for name, value in (found | gradients("g", generator)).items()}


def gradients(player: str, network: nn.Module) -> dict[str, Tensor]:
    """Whole gradients by parameter name."""
    whole = {}
    for name, parameter in network.named_parameters():
        grad = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        whole[f"{player}/{name}"] = grad.full_tensor() if hasattr(grad, "full_tensor") else grad
    return whole
