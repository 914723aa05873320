"""Properties of blur kernels."""

import numpy as np
import pytest

from seedvr2.data.degradation.kernels import bessel_j1, gaussian_kernel, sinc_kernel


@pytest.mark.parametrize("size", [7, 13, 21])
@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("is_plateau", [False, True])
def test_kernels_sum_to_one_and_are_point_symmetric(size, beta, is_plateau):
    kernel = gaussian_kernel(size, (2.0, 0.6), rotation=0.7, beta=beta, is_plateau=is_plateau)
    assert kernel.shape == (size, size)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert np.allclose(kernel, kernel[::-1, ::-1], atol=1e-7)
    assert kernel.min() >= 0


def test_gaussian_has_the_requested_variances():
    kernel = gaussian_kernel(21, (2.0, 1.0), rotation=0.0).astype(float)
    offsets = np.arange(-10, 11)
    assert (kernel.sum(axis=0) * offsets**2).sum() == pytest.approx(4, rel=1e-3)
    assert (kernel.sum(axis=1) * offsets**2).sum() == pytest.approx(1, rel=1e-3)


def test_rotation_by_a_quarter_turn_swaps_the_axes():
    turned = gaussian_kernel(9, (2.0, 0.5), rotation=np.pi / 2)
    assert np.allclose(turned, gaussian_kernel(9, (0.5, 2.0)), atol=1e-6)


def test_larger_exponents_flatten_the_top():
    ratios = []
    for beta in (0.5, 1.0, 4.0):
        kernel = gaussian_kernel(21, (4.0, 4.0), beta=beta)
        ratios.append(kernel[10, 12] / kernel[10, 10])
    assert ratios[0] < ratios[1] < ratios[2]


@pytest.mark.parametrize("cutoff", [np.pi / 5, np.pi / 2])
def test_sinc_passes_low_and_stops_high_frequencies(cutoff):
    kernel = sinc_kernel(21, cutoff).astype(float)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert kernel.min() < 0
    offsets = np.arange(-10, 11)
    response = [abs((kernel.sum(axis=0) * np.cos(omega * offsets)).sum()) for omega in (0.4 * cutoff, 1.6 * cutoff)]
    assert response[0] > 0.8
    assert response[1] < 0.2


def test_bessel_function_has_its_known_values():
    values = bessel_j1(np.array([0.0, 1.0, 3.8317059702075123]))
    assert values == pytest.approx([0, 0.4400505857449335, 0], abs=1e-12)
    x = np.linspace(0.5, 44, 200)
    # J₁ solves x²y″ + xy′ + (x² - 1)y = 0.
    step = 1e-3
    below, here, above = bessel_j1(x - step), bessel_j1(x), bessel_j1(x + step)
    residual = x**2 * (above - 2 * here + below) / step**2 + x * (above - below) / (2 * step) + (x**2 - 1) * here
    assert np.abs(residual / x**2).max() < 1e-5
