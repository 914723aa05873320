"""A generator that starts as a copy restores nothing and spoils nothing."""

import pytest
import torch

from seedvr2 import config
from seedvr2.errors import UserError
from seedvr2.models.dit import SwinMMDiT
from seedvr2.models.patch import PATCH
from seedvr2.models.start import start_as_copy


@pytest.mark.parametrize("width", [144, 192])
@pytest.mark.parametrize("family", ["3b", "7b"])
def test_the_one_step_result_is_nearly_the_lq_latent(make_trunk, family, width):
    torch.manual_seed(0)
    trunk = make_trunk(family, width=width, heads=4, head_dim=48)
    generator = SwinMMDiT(trunk=lambda: trunk, output_norm=family == "3b")
    start_as_copy(generator, torch.Generator().manual_seed(0))
    lq, noise = torch.randn(2, 8 * 8 * 2, 16).unbind()
    rows = torch.cat([noise, lq, torch.ones(len(lq), 1)], dim=-1)
    with torch.no_grad():
        velocity = generator(rows, torch.randn(5, 8), [(2, 8, 8)], [5], torch.tensor([1000.0]))
    error = (noise - velocity - lq).square().mean()
    assert error < 0.15 * lq.square().mean()


def test_a_narrow_generator_cannot_start_as_a_copy(make_generator):
    with pytest.raises(UserError, match="width of at least 144"):
        start_as_copy(make_generator(), torch.Generator())


def test_the_tiny_generator_starts_as_a_copy_whatever_the_contrast():
    torch.manual_seed(0)
    settings = config.plain(config.load("train", ["model=tiny", "run.dir=x", "data=procedural", "data.shapes=[]"]))
    generator = config.build(settings["model"], "model")()
    start_as_copy(generator, torch.Generator().manual_seed(0))
    channels, width = generator.vid_out.proj.out_features // PATCH**2, generator.trunk.txt_in.in_features
    noise, lq = torch.randn(2, 8 * 8 * 2, channels).unbind()
    for contrast in (1, 2, 4, 8):
        sharp = contrast * lq
        rows = torch.cat([noise, sharp, torch.ones(len(lq), 1)], dim=-1)
        with torch.no_grad():
            velocity = generator(rows, torch.randn(5, width), [(2, 8, 8)], [5], torch.tensor([1000.0]))
        assert (noise - velocity - sharp).square().mean() < 0.05 * sharp.square().mean()
