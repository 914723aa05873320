"""Blur kernels of the second-order degradation: Gaussian, generalised Gaussian, plateau and sinc.

All but the sinc are functions of q(x) = xᵀ Σ⁻¹ x with Σ = R diag(σx², σy²) Rᵀ. Every kernel sums to one.
"""

import numpy as np


def gaussian_kernel(
    size: int, sigma: tuple[float, float], *, rotation: float = 0.0, beta: float = 1.0, is_plateau: bool = False
) -> np.ndarray:
    """A float32 (size, size) kernel exp(-q^β / 2), or 1 / (1 + q^β) if `is_plateau`.

    `size` is odd, `sigma` the standard deviations in pixels along the axes turned by `rotation` radians; β = 1 is the
    Gaussian proper.
    """
    q = _squared_distance(size, sigma, rotation) ** beta
    kernel = 1 / (1 + q) if is_plateau else np.exp(-0.5 * q)
    return (kernel / kernel.sum()).astype(np.float32)


def sinc_kernel(size: int, cutoff: float) -> np.ndarray:
    """The float32 (size, size) ideal low-pass disc of `cutoff` radians per pixel: ω J₁(ωr) / (2πr), ω²/(4π) at r = 0.

    Truncation makes it ring, which is its purpose: overshoot as left by sharpening and resampling.
    """
    offsets = np.arange(size) - size // 2
    squares, where = np.unique(offsets[:, None] ** 2 + offsets[None] ** 2, return_inverse=True)
    radii = np.sqrt(squares[1:].astype(np.float64))
    values = np.concatenate([[cutoff**2 / (4 * np.pi)], cutoff * bessel_j1(cutoff * radii) / (2 * np.pi * radii)])
    kernel = values[where].reshape(size, size)
    return (kernel / kernel.sum()).astype(np.float32)


def bessel_j1(x: np.ndarray) -> np.ndarray:
    """The Bessel function J₁ for |x| <= 100, from its integral (1/π) ∫₀^π cos(τ - x sin τ) dτ.

    The midpoint rule of a periodic analytic integrand converges exponentially; 128 nodes leave an error below 1e-12.
    """
    nodes = (np.arange(128) + 0.5) * (np.pi / 128)
    return np.cos(nodes - np.asarray(x)[..., None] * np.sin(nodes)).mean(axis=-1)


def _squared_distance(size: int, sigma: tuple[float, float], rotation: float) -> np.ndarray:
    offsets = np.arange(size) - size // 2
    cos, sin = np.cos(rotation), np.sin(rotation)
    along = (cos * offsets[None] + sin * offsets[:, None]) / sigma[0]
    across = (cos * offsets[:, None] - sin * offsets[None]) / sigma[1]
    return along**2 + across**2
