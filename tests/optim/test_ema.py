"""Averaged weights against the closed form."""

import pytest
import torch

from seedvr2.errors import UserError
from seedvr2.optim.ema import Ema


def test_average_equals_the_closed_form():
    weight, decay = torch.tensor([1.0, -2.0]), 0.9
    ema, values = Ema({"w": weight}, decay), [weight.clone()]
    for step in range(1, 6):
        weight.copy_(torch.tensor([step * 0.5, step**2]))
        values.append(weight.clone())
        ema.update({"w": weight})
    expected = decay**5 * values[0] + sum((1 - decay) * decay ** (5 - i) * values[i] for i in range(1, 6))
    torch.testing.assert_close(ema.average["w"], expected)


def test_average_of_half_precision_weights_is_kept_in_fp32():
    weight = torch.ones(3, dtype=torch.bfloat16)
    ema = Ema({"w": weight}, 0.999)
    weight.add_(1)
    ema.update({"w": weight})
    assert ema.average["w"].dtype == torch.float32
    torch.testing.assert_close(ema.average["w"], torch.full((3,), 1.001))


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5])
def test_decays_that_average_nothing_or_everything_are_refused(decay):
    with pytest.raises(UserError, match=str(decay)):
        Ema({}, decay)
