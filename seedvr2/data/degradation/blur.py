"""Blur by random kernels that drift from frame to frame, ringing by a sinc, and sharpening before both."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from torch import Tensor

from seedvr2.data.degradation import tensors
from seedvr2.data.degradation.draw import Clip, Draw, odds_of, span_of, steps_of
from seedvr2.data.degradation.filtering import filtered
from seedvr2.data.degradation.kernels import gaussian_kernel, sinc_kernel
from seedvr2.errors import UserError

KINDS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso", "sinc")
DRIFTS = ("sigma", "rotation", "beta_generalized", "beta_plateau", "cutoff")
WIDE_KERNEL = 13  # from this size on a lower cut-off still fits into the kernel


class Blur:
    """Filter a clip with one kind of kernel whose parameters drift over its frames.

    `kinds` are the odds of `KINDS`; `kernel_size` is the range of odd sizes; `sigma` in pixels and `rotation` in
    radians; `beta_*` the exponents; `cutoff` and `cutoff_wide` the sinc's range in radians per pixel below and from
    kernel size 13; `drift` the largest step per frame of each of `DRIFTS` (absent = constant). β is drawn once from
    its range; other implementations draw it again between 1 and the first value. Raises UserError for bad values.
    """

    takes_tensors = True

    def __init__(
        self,
        probability: float = 1.0,
        kinds: Mapping[str, float] | None = None,
        *,
        kernel_size: Sequence[int] = (7, 21),
        sigma: Sequence[float] = (0.2, 3.0),
        rotation: Sequence[float] = (-np.pi, np.pi),
        beta_generalized: Sequence[float] = (0.5, 4.0),
        beta_plateau: Sequence[float] = (1.0, 2.0),
        cutoff: Sequence[float] = (np.pi / 3, np.pi),
        cutoff_wide: Sequence[float] = (np.pi / 5, np.pi),
        drift: Mapping[str, float] | None = None,
    ):
        self.probability = float(probability)
        self.kinds = odds_of("kinds", {"iso": 1.0} if kinds is None else kinds, KINDS)
        self.kernel_sizes = _odd_sizes(kernel_size)
        self.sigma = span_of("sigma", sigma)
        self.rotation = span_of("rotation", rotation)
        self.beta_generalized = span_of("beta_generalized", beta_generalized)
        self.beta_plateau = span_of("beta_plateau", beta_plateau)
        self.cutoff = span_of("cutoff", cutoff)
        self.cutoff_wide = span_of("cutoff_wide", cutoff_wide)
        self.drift = steps_of(drift, DRIFTS)

    def __call__(self, clip: Clip, draw: Draw) -> Clip:
        if not draw.happens(self.probability):
            return clip
        kind = draw.choose(self.kinds)
        size = int(draw.rng.choice(self.kernel_sizes))
        if kind == "sinc":
            values = self._draw_sinc(size, draw, frames=len(clip))
            kernels = [sinc_kernel(size, cutoff) for cutoff in values["cutoff"]]
        else:
            values = self._draw_gaussian(kind, draw, frames=len(clip))
            kernels = _gaussian_kernels(kind, size, values)
        draw.record.append({"op": "blur", "kind": kind, "size": size, **values})
        return tensors.filtered(clip, kernels) if isinstance(clip, Tensor) else filtered(clip, kernels)

    def _draw_sinc(self, size: int, draw: Draw, *, frames: int) -> dict[str, list[float]]:
        span = self.cutoff if size < WIDE_KERNEL else self.cutoff_wide
        return {"cutoff": draw.walk(span, self.drift["cutoff"], frames=frames)}

    def _draw_gaussian(self, kind: str, draw: Draw, *, frames: int) -> dict[str, list[float]]:
        values = {"sigma_x": draw.walk(self.sigma, self.drift["sigma"], frames=frames)}
        if kind.endswith("aniso"):
            values["sigma_y"] = draw.walk(self.sigma, self.drift["sigma"], frames=frames)
            values["rotation"] = draw.walk(self.rotation, self.drift["rotation"], frames=frames)
        if kind.startswith("generalized"):
            values["beta"] = draw.walk(self.beta_generalized, self.drift["beta_generalized"], frames=frames)
        if kind.startswith("plateau"):
            values["beta"] = draw.walk(self.beta_plateau, self.drift["beta_plateau"], frames=frames)
        return values


class Sharpen:
    """Unsharp masking where the difference to the blurred picture exceeds a threshold (of 255), softly blended.

    `size` is the odd Gaussian window in pixels (σ follows from it), `weight` the share of the difference added.
    """

    takes_tensors = True

    def __init__(self, probability: float = 1.0, *, weight: float = 0.5, size: int = 51, threshold: float = 10.0):
        self.probability, self.weight, self.threshold = float(probability), float(weight), float(threshold)
        self.size = _odd_sizes((size, size))[0]

    def __call__(self, clip: Clip, draw: Draw) -> Clip:
        if not draw.happens(self.probability):
            return clip
        draw.record.append({"op": "sharpen", "weight": self.weight})
        if isinstance(clip, Tensor):
            return self._sharpened_at_once(clip)
        return np.stack([self._sharpened(frame) for frame in clip])

    def _sharpened(self, frame: np.ndarray) -> np.ndarray:
        window = (self.size, self.size)
        detail = frame - cv2.GaussianBlur(frame, window, 0)
        amount = cv2.GaussianBlur((np.abs(detail) * 255 > self.threshold).astype(np.float32), window, 0)
        sharp = np.clip(frame + np.float32(self.weight) * detail, 0, 1)
        return frame + amount * (sharp - frame)

    def _sharpened_at_once(self, clip: Tensor) -> Tensor:
        side = cv2.getGaussianKernel(self.size, 0, cv2.CV_32F)
        kernels = [side @ side.T] * len(clip)
        detail = clip - tensors.filtered(clip, kernels)
        amount = tensors.filtered((detail.abs() * 255 > self.threshold).float(), kernels)
        return clip + amount * ((clip + self.weight * detail).clamp(0, 1) - clip)


def _odd_sizes(span: Sequence[int]) -> list[int]:
    low, high = (int(value) for value in span_of("kernel_size", span))
    sizes = [size for size in range(max(low, 1), high + 1) if size % 2]
    if not sizes:
        raise UserError(f"kernel_size is [{low}, {high}]; give a range with an odd positive number")
    return sizes


def _gaussian_kernels(kind: str, size: int, values: dict[str, list[float]]) -> list[np.ndarray]:
    frames = len(values["sigma_x"])
    constant = {"sigma_y": values["sigma_x"], "rotation": [0.0] * frames, "beta": [1.0] * frames} | values
    rows = zip(constant["sigma_x"], constant["sigma_y"], constant["rotation"], constant["beta"], strict=True)
    return [
        gaussian_kernel(size, (x, y), rotation=turn, beta=beta, is_plateau=kind.startswith("plateau"))
        for x, y, turn, beta in rows
    ]
