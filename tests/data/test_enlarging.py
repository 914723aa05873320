"""Properties of enlargement by whole factors."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from seedvr2.data.enlarging import enlarged


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("shape", [(2, 3, 13, 9), (1, 1), (3, 2, 5), (1, 40, 3)])
def test_it_equals_antialiased_bicubic_interpolation(factor, shape):
    planes = np.random.default_rng(0).random(shape, dtype=np.float32) * 2 - 1
    before = planes.copy()
    size = (shape[-2] * factor, shape[-1] * factor)
    flat = torch.from_numpy(planes).reshape(1, -1, *shape[-2:])
    expected = interpolate(flat, size=size, mode="bicubic", antialias=True).numpy()
    found = enlarged(planes, factor)
    assert found.shape == (*shape[:-2], *size)
    assert np.abs(found.reshape(expected.shape) - expected).max() < 1e-5  # torch computes positions in float32
    assert np.array_equal(planes, before)


def test_overshoot_is_kept():
    step = np.zeros((8, 8), np.float32)
    step[:, 4:] = 1
    assert enlarged(step, 4).max() > 1.02
