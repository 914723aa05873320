"""Gaussian and Poisson noise, coloured or gray, on [0,1] pictures; the result is not clipped."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from seedvr2.data.degradation import tensors
from seedvr2.data.degradation.draw import Clip, Draw, odds_of, span_of, steps_of, to_bytes, to_floats
from seedvr2.data.degradation.poisson import photons_at_white, poisson_noise
from seedvr2.errors import UserError

KINDS = ("gaussian", "poisson")


class Noise:
    """Add noise of one kind to a clip; its strength drifts and its samples are independent per frame.

    `sigma` is the Gaussian standard deviation in units of 1/255, `scale` the factor on Poisson noise in the [0,1]
    domain: (Poisson(v x)/v - x) · scale with v the number of grey levels of the frame rounded up to a power of two.
    `poisson_domain: 255` applies the same numbers to 0–255 pictures, as some implementations do, whose noise is 16
    times weaker. `exact_poisson: false` draws a normal variable of the same variance instead. `gray` is the probability
    of equal noise in the three channels; `drift` has the largest steps of `sigma` and `scale` per frame. Raises
    UserError for other kinds, domains or ranges.
    """

    takes_tensors = True

    def __init__(
        self,
        kinds: Mapping[str, float],
        *,
        sigma: Sequence[float] = (1.0, 30.0),
        scale: Sequence[float] = (0.05, 3.0),
        gray: float = 0.4,
        drift: Mapping[str, float] | None = None,
        poisson_domain: int = 1,
        exact_poisson: bool = True,
    ):
        self.kinds = odds_of("kinds", kinds, KINDS)
        self.sigma = span_of("sigma", sigma)
        self.scale = span_of("scale", scale)
        self.gray = float(gray)
        self.drift = steps_of(drift, ("sigma", "scale"))
        if poisson_domain not in (1, 255):
            raise UserError(f"poisson_domain is {poisson_domain}; give 1 for pictures in [0,1], or 255")
        self.poisson_domain = int(poisson_domain)
        self.exact_poisson = bool(exact_poisson)

    def __call__(self, clip: Clip, draw: Draw) -> Clip:
        kind = draw.choose(self.kinds)
        is_gray = draw.happens(self.gray)
        name = "sigma" if kind == "gaussian" else "scale"
        span = self.sigma if kind == "gaussian" else self.scale
        strengths = draw.walk(span, self.drift[name], frames=len(clip))
        draw.record.append({"op": "noise", "kind": kind, "gray": is_gray, name: strengths})
        seed = draw.seed()
        if isinstance(clip, Tensor):
            return self._on_device(clip, kind, strengths, is_gray=is_gray, seed=seed)
        pictures = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if is_gray else frame for frame in clip)
        if kind == "gaussian":
            noise, unit = gaussian_noise(pictures, seed), 1 / 255
        else:
            sample = poisson_noise if self.exact_poisson else normal_noise
            noise, unit = sample(pictures, seed, domain=self.poisson_domain), 1.0
        return _sum(clip, noise, [strength * unit for strength in strengths])

    def _on_device(self, clip: Tensor, kind: str, strengths: list[float], *, is_gray: bool, seed: int) -> Tensor:
        factors = torch.tensor(strengths, device=clip.device)[:, None, None, None]
        if kind == "gaussian":
            return clip + tensors.gaussian_noise(clip, seed, is_gray=is_gray) * (factors / 255)
        options = {"domain": self.poisson_domain, "is_exact": self.exact_poisson}
        return clip + tensors.poisson_noise(clip, seed, is_gray=is_gray, **options) * factors


def gaussian_noise(pictures: Iterable[np.ndarray], seed: int) -> Iterator[np.ndarray]:
    """Yield standard normal noise of the shape of each picture, float32, good until the next one."""
    generator = torch.Generator().manual_seed(seed)
    buffer = None
    for picture in pictures:
        if buffer is None or buffer.shape != picture.shape:
            buffer = torch.empty(picture.shape)
        yield buffer.normal_(generator=generator).numpy()


def normal_noise(pictures: Iterable[np.ndarray], seed: int, *, domain: int = 1) -> Iterator[np.ndarray]:
    """As `poisson_noise`, but normal with the same variance."""
    levels = [to_bytes(picture) for picture in pictures]
    for level, noise in zip(levels, gaussian_noise(levels, seed), strict=True):
        yield noise * np.sqrt(to_floats(level) / np.float32(photons_at_white(level, domain)))


def _sum(clip: np.ndarray, noise: Iterable[np.ndarray], factors: Sequence[float]) -> np.ndarray:
    # Noise (H,W) is gray: the same for all channels.
    result = np.empty_like(clip)
    for frame, sample, factor, target in zip(clip, noise, factors, result, strict=True):
        coloured = cv2.cvtColor(sample, cv2.COLOR_GRAY2RGB) if sample.ndim == 2 else sample
        cv2.scaleAdd(coloured, factor, frame, dst=target)
    return result
