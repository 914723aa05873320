"""Small stand-ins for generator, discriminator, builder and weights, which write down what they are given."""

from pathlib import Path

import pytest
import torch
from torch import nn

from seedvr2.data.batch import Batch
from seedvr2.models.prompts import Prompts
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.randomness import Draws


def filled(network: nn.Module, seed: int) -> nn.Module:
    """The network with random weights that depend on the seed only."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return network


def of_clips(vid, txt, sizes, lengths):
    """Rows and mean text of each clip."""
    rows = vid.split([t * h * w for t, h, w in sizes])
    return zip(rows, (text.mean(0) for text in txt.split(lengths)), strict=True)


class Field(nn.Module):
    """A generator that depends on x, LQ, text and time; `calls` holds the arguments of every call."""

    def __init__(self, seed: int):
        super().__init__()
        self.mix, self.text, self.time = nn.Linear(33, 16), nn.Linear(8, 16, bias=False), nn.Parameter(torch.empty(16))
        self.calls = []
        filled(self, seed)

    def forward(self, vid, txt, sizes, lengths, timestep):
        self.calls.append((vid.detach(), txt.detach(), sizes, lengths, timestep))
        return torch.cat(
            [
                torch.tanh(self.mix(rows) + self.text(text) + self.time * (when / 500).sin())
                for (rows, text), when in zip(of_clips(vid, txt, sizes, lengths), timestep, strict=True)
            ]
        )


class Judge(nn.Module):
    """A discriminator that depends on everything; two taps."""

    def __init__(self, seed: int):
        super().__init__()
        self.mix, self.deep, self.text = nn.Linear(33, 6), nn.Linear(6, 6), nn.Linear(8, 6)
        self.score = nn.Linear(6, 1, bias=False)
        self.calls = []
        filled(self, seed)

    def forward(self, vid, txt, sizes, lengths, timestep):
        self.calls.append((vid.detach(), txt.detach(), sizes, lengths, timestep))
        logits, taps = [], []
        for (rows, text), when in zip(of_clips(vid, txt, sizes, lengths), timestep, strict=True):
            first = torch.tanh(self.mix(rows) + self.text(text) + when / 1000)
            taps.append((first, torch.tanh(self.deep(first))))
            logits.append(self.score(taps[-1][1].mean(0)).squeeze())
        return torch.stack(logits), [torch.cat(tap) for tap in zip(*taps, strict=True)]


class Recorder:
    """Builder and weights in one: every file exists, `built` and `asked` tell what was wanted."""

    def __init__(self):
        self.built, self.asked, self.average = {}, [], lambda x: x

    def __call__(self, name, recipe, weights, *, trainable=True, start=None):
        self.built[name] = recipe().train(trainable).requires_grad_(trainable)
        if start is not None and weights is None:
            start(self.built[name], torch.Generator().manual_seed(0))
        return self.built[name]

    def find(self, *names):
        return None

    def require(self, *names, purpose):
        self.asked.append(names)
        return Path(names[0])

    def latent_scale(self, path):
        return 1.0


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def fields():
    """Function seed -> recipe of a stand-in generator."""
    return lambda seed=0: lambda: Field(seed)


@pytest.fixture
def judges():
    """Function seed -> recipe of a stand-in discriminator."""
    return lambda seed=0: lambda: Judge(seed)


@pytest.fixture
def prompts():
    """Recipe of prompts: positive is around 1, negative around 2, null around 3."""

    def recipe():
        table = filled(Prompts(tokens=3, dim=8, negative_tokens=2), 11)
        with torch.no_grad():
            for level, kind in enumerate(("positive", "negative", "null"), start=1):
                getattr(table, kind).mul_(0.1).add_(level)
        return table

    return recipe


@pytest.fixture
def vae():
    """Recipe of a small VAE, the first of whose channels counts more than the others."""

    def recipe():
        network = filled(VideoVAE((8, 8, 8, 8), 1, groups=4), 3)
        with torch.no_grad():
            network.decoder.conv_in.weight[:, 0] *= 10
        return network

    return recipe


@pytest.fixture
def make_batch():
    """Function key, count -> clips of different sizes with draws of that key."""

    def make(key: str = "a", count: int = 2) -> Batch:
        generator = torch.Generator().manual_seed(5)
        sizes = [(2, 4, 4), (1, 2, 6), (3, 2, 2)][:count]
        hq, lq = ([torch.randn(*size, 16, generator=generator) for size in sizes] for _ in range(2))
        return Batch(hq, lq, [Draws(key, number) for number in range(count)])

    return make
